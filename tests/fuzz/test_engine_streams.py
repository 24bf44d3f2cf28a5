"""What an engine writes is written by what it runs: real transcripts with anything in them, in pieces of any size."""

import json
import math
from collections.abc import Iterator

import pytest
from tests.support.fuzzing import fuzz
from tests.support.mutations import Mutator
from tests.unit.engines.record import GOLDEN
from tests.unit.engines.test_any_line import READERS

from treadle.command.framing import LineFramer
from treadle.redaction import MASK, Redactor

MAX_LINE = 1 << 20


@pytest.mark.parametrize("name", READERS)
def test_transcripts(name: str) -> None:
    whole = [path.read_bytes() for path in sorted(GOLDEN.glob("*.jsonl"))]

    def check(mutator: Mutator) -> None:
        stream = mutator.random.choice(whole)
        lines = stream.splitlines()
        at = mutator.random.randrange(len(lines))
        if mutator.random.random() < 0.6:
            lines[at] = mutator.json(json.loads(lines[at]))
            stream = b"\n".join(lines) + b"\n"
        else:
            stream = mutator.data(stream, *whole)
        stderr = mutator.data(b"error: failed to run prompt: provider.api_error: 500 x\n").decode(errors="replace")
        reader = READERS[name](mutator.random.random() < 0.5)
        for line in framed(mutator, stream):
            for draft in reader.feed(line):
                assert_storable(draft.data)
        outcome = reader.finish(mutator.random.choice((0, 1, 126, 127, 137, 143, -9)), stderr)
        assert (outcome.error is None) == (outcome.output is not None)
        assert_storable([outcome.output, str(outcome.error), outcome.session])
        assert 0 <= outcome.usage.input_tokens < 2**63
        assert 0 <= outcome.usage.output_tokens < 2**63
        assert math.isfinite(outcome.usage.cost_usd)

    fuzz(500, check)


def assert_storable(value: object) -> None:
    """In any database, and in JSON that any reader takes."""
    assert "\0" not in "".join(texts(json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())))


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for part in pair for text in texts(part))
    elif isinstance(value, list):
        yield from (text for part in value for text in texts(part))


def framed(mutator: Mutator, stream: bytes) -> list[bytes]:
    """As the runner reads it; however it comes, the lines are the same."""
    framer, lines = LineFramer(), list[bytes]()
    for chunk in mutator.chunks(stream):
        framer.add(chunk)
        while (line := framer.next_line(MAX_LINE)) is not None:
            lines.append(line)
    if (last := framer.last_line()) is not None:
        lines.append(last)
    assert b"\n".join(lines) == stream.removesuffix(b"\n")
    return lines


@pytest.mark.parametrize("name", READERS)
def test_a_secret_in_a_transcript(name: str) -> None:
    """What is made of a line is what is redacted: nothing of the secret is left in any event."""
    secret = "planted-9f2c7e"
    redactor = Redactor([secret])
    whole = [path.read_bytes() for path in sorted(GOLDEN.glob("*.jsonl"))]

    def check(mutator: Mutator) -> None:
        lines = mutator.random.choice(whole).splitlines()
        at = mutator.random.randrange(len(lines))
        lines[at] = json.dumps(_planted(mutator, json.loads(lines[at]), secret)).encode()
        reader = READERS[name](False)
        for line in lines:
            for draft in reader.feed(line):
                said = json.dumps(redactor.object(draft.data))
                assert secret not in said
                assert secret not in json.dumps(draft.data) or MASK in said

    fuzz(300, check)


def _planted(mutator: Mutator, value: object, secret: str) -> object:
    if isinstance(value, str):
        return f"{value} {secret}" if mutator.random.random() < 0.5 else value
    if isinstance(value, dict):
        return {key: _planted(mutator, inner, secret) for key, inner in value.items()}
    if isinstance(value, list):
        return [_planted(mutator, inner, secret) for inner in value]
    return value

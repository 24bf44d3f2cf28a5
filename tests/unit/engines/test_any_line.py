"""No line whatsoever makes a reader raise, and whatever it makes of one can be stored."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.engines.record import GOLDEN

from treadle.domain.events import MAX_TEXT
from treadle.domain.run import EngineName, Usage
from treadle.engines.claude_stream import ClaudeReader
from treadle.engines.kimi_reader import KimiReader
from treadle.ports import EngineReader

READERS: dict[str, Callable[[bool], EngineReader]] = {
    "claude": lambda structured: ClaudeReader(EngineName.CLAUDE, is_structured=structured, session=None),
    "kimi": lambda structured: KimiReader(is_structured=structured, session=None, model="m"),
}
LINES = [line for path in sorted(GOLDEN.glob("*.jsonl")) for line in path.read_bytes().splitlines()]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "a\0b"])
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)

WORDS = [
    *("type", "subtype", "role", "message", "content", "usage", "id", "name", "input", "error", "session_id", "result"),
    *("is_error", "permission_denials", "structured_output", "model_usage_since_last_result", "modelUsage", "errors"),
    *("rate_limit_info", "resetsAt", "status", "tool_calls", "function", "arguments", "tools", "text", "api_error"),
    *("system", "init", "assistant", "user", "tool", "tool_use", "tool_result", "rate_limit_event", "meta", "rejected"),
]
words = st.sampled_from(WORDS)
messages = st.dictionaries(
    words, st.recursive(scalars | words, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=20)
)


def survives(name: str, lines: list[bytes], *, structured: bool, exit_code: int, stderr: str) -> None:
    reader = READERS[name](structured)
    for line in lines:
        for draft in reader.feed(line):
            stored = json.dumps(draft.data, allow_nan=False, ensure_ascii=False).encode()
            assert b"\\u0000" not in stored
            assert len(json.dumps(draft.data, ensure_ascii=False)) < 7 * MAX_TEXT
    outcome = reader.finish(exit_code, stderr)
    assert (outcome.error is None) == (outcome.output is not None)
    for text in (outcome.output, str(outcome.error), outcome.session or ""):
        (text or "").encode()
        assert "\0" not in (text or "")
    spent: Usage = outcome.usage
    assert 0 <= spent.input_tokens < 2**63
    assert 0 <= spent.output_tokens < 2**63
    assert math.isfinite(spent.cost_usd)


@pytest.mark.parametrize("name", READERS)
@given(
    lines=st.lists(st.binary() | messages.map(lambda message: json.dumps(message).encode())),
    structured=st.booleans(),
    exit_code=st.integers(-64, 255),
    stderr=st.text() | st.sampled_from(["error: failed to run prompt: provider.auth_error: 401", "a\0\ud800"]),
)
@example(lines=[b"[" * 100_000], structured=False, exit_code=0, stderr="")
@example(lines=[b'{"type":' + b'{"a":' * 5_000], structured=True, exit_code=1, stderr="")
@example(
    lines=[b'{"type":"result","is_error":false,"subtype":"success","result":NaN}'],
    structured=True,
    exit_code=0,
    stderr="",
)
@example(lines=[b'{"role":"meta","type":"session.resume_hint"}'], structured=True, exit_code=0, stderr="")
@example(lines=[b"9" * 5_000], structured=False, exit_code=0, stderr="")
def test_any_line(name: str, lines: list[bytes], *, structured: bool, exit_code: int, stderr: str) -> None:
    survives(name, lines, structured=structured, exit_code=exit_code, stderr=stderr)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data(), structured=st.booleans(), exit_code=st.sampled_from([0, 1, 127, 143, -9]))
def test_a_real_line_with_something_else_in_it(
    name: str, data: st.DataObject, *, structured: bool, exit_code: int
) -> None:
    line = json.loads(data.draw(st.sampled_from(LINES)))
    _replace_somewhere(line, data)
    survives(name, [json.dumps(line).encode()], structured=structured, exit_code=exit_code, stderr="")


def _replace_somewhere(value: Any, data: st.DataObject) -> None:
    """Put something unexpected at one place of a real message."""
    while value:
        key = data.draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        if not isinstance(value[key], dict | list) or data.draw(st.booleans()):
            value[key] = data.draw(values)
            return
        value = value[key]


@pytest.mark.parametrize("name", READERS)
def test_a_line_of_many_megabytes(name: str) -> None:
    content = [
        {"type": "tool_use", "id": "1", "name": "Write", "input": {"content": "x" * 5_000_000, "list": [1] * 200_000}}
    ]
    claude = {"type": "assistant", "message": {"id": "1", "content": content}}
    arguments = json.dumps(content[0]["input"])
    call = {"id": "1", "function": {"name": "Write", "arguments": arguments}}
    kimi = {"role": "assistant", "content": "y" * 5_000_000, "tool_calls": [call]}
    lines = [json.dumps(message).encode() for message in (claude, kimi)]
    survives(name, lines, structured=False, exit_code=0, stderr="z" * 1_000_000)

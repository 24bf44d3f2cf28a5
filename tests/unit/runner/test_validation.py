"""Which commands count, where a worker goes on that takes over, and what the engine and the caller are told."""

from dataclasses import replace
from uuid import UUID

import pytest

from treadle.domain.run import Step
from treadle.domain.validation import CommandResult
from treadle.runner import prompts
from treadle.runner.validation import NOT_ENDED, _sentence, begun

STEP = Step(UUID(int=1), 1, "Count words", is_commitable=True, is_structured=False)


def result(attempt: int, code: int | None, command: str = "make test") -> CommandResult:
    return CommandResult(command, code, None if code is not None else NOT_ENDED, "the output", 1, attempt)


@pytest.mark.parametrize(
    ("kept", "still", "attempt"),
    [
        ((), 0, 1),
        ((result(1, 2),), 0, 1),  # its mending may not have been done
        ((result(1, 0), result(1, 2), result(2, None)), 2, 2),  # cut short: it has been
        ((result(1, 2), result(2, 0), result(2, None)), 1, 2),
    ],
)
def test_where_a_worker_goes_on(kept: tuple[CommandResult, ...], still: int, attempt: int) -> None:
    assert begun(replace(STEP, validation=kept)) == (kept[:still], attempt)


@pytest.mark.parametrize(
    ("failed", "mended", "said"),
    [
        (result(1, 2), 0, "`make test` failed with exit code 2. "),
        (result(2, 2), 1, "`make test` failed with exit code 2 after 1 try to mend it. "),
        (result(4, 2), 3, "`make test` failed with exit code 2 after 3 tries to mend it. "),
        (
            replace(result(2, None), reason="it took longer than 9 s"),
            1,
            "was ended: it took longer than 9 s, after 1 try",
        ),
        (result(1, 1, "\nmake\nmake test"), 0, "`make…` failed"),
        (result(1, 1, "x" * 101), 0, f"`{'x' * 100}…` failed"),
    ],
)
def test_the_step_fails_with_a_sentence(failed: CommandResult, mended: int, said: str) -> None:
    sentence = _sentence(failed, mended)
    assert sentence.startswith("Nothing was committed: ")
    assert said in sentence


def test_the_engine_is_told_what_failed() -> None:
    asked = prompts.repair(STEP, result(1, 2), "one\n```\ntwo\n", rules="Be kind.")
    assert asked.startswith("Be kind.\n\n`make test` failed with exit code 2.")
    assert "Count words" in asked
    assert asked.endswith("````\none\n```\ntwo\n````")
    asked = prompts.repair(STEP, result(1, 2, "echo `date`\nfalse"), "")
    assert asked.startswith("This command:\n\n```\necho `date`\nfalse\n```\n\nIt failed with exit code 2.")

"""Transcripts of the real CLIs, recorded by `record.py`, read again without them."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.engines.record import ANSWER, GOLDEN, RESETS_AT, scenes

from treadle.domain.errors import (
    EngineAuthenticationFailed,
    EngineError,
    EngineFailed,
    EngineRefused,
    StructuredOutputInvalid,
    UsageLimitReached,
)
from treadle.domain.events import Draft, EventType
from treadle.domain.run import EngineName, Usage
from treadle.engines.claude_stream import ClaudeReader
from treadle.engines.kimi_reader import KimiReader
from treadle.ports import EngineReader, Outcome

SHORT = {
    EventType.ENGINE_STARTED: "started",
    EventType.ENGINE_TEXT: "text",
    EventType.ENGINE_THOUGHT: "thought",
    EventType.ENGINE_NOTICE: "notice",
    EventType.ENGINE_RETRY: "retry",
    EventType.TOOL_STARTED: "tool",
    EventType.TOOL_FINISHED: "result",
}


@dataclass(frozen=True)
class Read:
    outcome: Outcome
    drafts: list[Draft]
    is_final: bool

    @property
    def kinds(self) -> str:
        return " ".join(SHORT[draft.type] for draft in self.drafts)


def read(name: str, exit_code: int = 0, *, lines: int | None = None) -> Read:
    reader: EngineReader
    if name.startswith("claude"):
        reader = ClaudeReader(EngineName.CLAUDE, is_structured="structured" in name, session=None)
    else:
        reader = KimiReader(is_structured=False, session=None, model="kimi-test")
    recorded = (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()
    drafts = [draft for line in recorded[:lines] for draft in reader.feed(line)]
    stderr = GOLDEN / f"{name}.stderr"
    is_final = reader.is_final
    return Read(reader.finish(exit_code, stderr.read_text() if stderr.exists() else ""), drafts, is_final)


def test_claude_working() -> None:
    found = read("claude_working")
    assert found.kinds == "started thought text tool result tool result tool result text"
    assert found.is_final
    assert found.outcome.error is None
    assert found.outcome.output == "It prints 42."
    assert found.outcome.session is not None
    usage = found.outcome.usage
    assert (usage.input_tokens, usage.output_tokens) == (1400, 80)  # a thousand of them from the cache
    assert usage.cost_usd > 0
    started, tools = (
        found.drafts[0].data,
        [draft.data for draft in found.drafts if draft.type is EventType.TOOL_STARTED],
    )
    assert started["session"] == found.outcome.session
    assert tools[0]["input"] == {"file_path": "/workspace/hello.py", "content": "print(6 * 7)\n"}
    results = [draft.data for draft in found.drafts if draft.type is EventType.TOOL_FINISHED]
    assert [result["isError"] for result in results] == [False, False, True]
    assert [result["id"] for result in results] == [tool["id"] for tool in tools]
    assert results[1]["output"] == "42"


def test_claude_cut_off() -> None:
    found = read("claude_working", -9, lines=10)
    assert not found.is_final
    assert isinstance(found.outcome.error, EngineFailed)
    assert "SIGKILL" in str(found.outcome.error)
    assert found.outcome.session is not None
    assert (found.outcome.usage.input_tokens, found.outcome.usage.output_tokens) == (1300, 60)


def test_claude_ended_after_its_answer() -> None:
    assert read("claude_working", -15).outcome.error is None


def test_claude_resumed_is_billed_for_the_second_call_alone() -> None:
    usage = read("claude_resumed").outcome.usage
    assert (usage.input_tokens, usage.output_tokens) == (1000, 20)
    result = json.loads((GOLDEN / "claude_resumed.jsonl").read_bytes().splitlines()[-1])
    assert 0 < usage.cost_usd < result["total_cost_usd"]  # which counts the first call again


def test_claude_structured() -> None:
    answer = read("claude_structured").outcome.structured_output
    assert answer is not None
    assert (answer.output, answer.thinking) == (ANSWER["output"], ANSWER["thinking"])
    assert (answer.was_successful, answer.is_additional_work_required_to_continue) == (True, False)


@pytest.mark.parametrize(
    ("name", "exit_code", "error", "words"),
    [
        ("claude_structured_never", 0, StructuredOutputInvalid, "structured"),
        ("claude_structured_invalid", 1, StructuredOutputInvalid, "must have required property"),
        ("claude_authentication", 1, EngineAuthenticationFailed, "Invalid API key"),
        ("claude_server_error", 1, EngineFailed, "Internal server error"),
        ("claude_no_credit", 1, EngineRefused, "Credit balance is too low"),
        ("claude_usage_limit", 1, UsageLimitReached, "2027-01-15 08:00 UTC"),
        ("kimi_authentication", 1, EngineAuthenticationFailed, "Invalid Authentication"),
    ],
)
def test_failures(name: str, exit_code: int, error: type[EngineError], words: str) -> None:
    found = read(name, exit_code)
    assert type(found.outcome.error) is error
    assert words in str(found.outcome.error)
    assert found.outcome.output is None


def test_claude_retry_is_an_event() -> None:
    retry = next(draft.data for draft in read("claude_server_error", 1).drafts if draft.type is EventType.ENGINE_RETRY)
    assert "500" in str(retry["reason"])
    assert retry["attempt"] == 2


def test_claude_usage_limit_has_a_date() -> None:
    error = read("claude_usage_limit", 1).outcome.error
    assert isinstance(error, UsageLimitReached)
    assert error.resets_at == datetime.fromtimestamp(RESETS_AT, UTC)
    assert not error.is_retryable


def test_kimi_working() -> None:
    found = read("kimi_working")
    assert found.kinds == "started text tool result tool result tool result text"
    assert found.is_final
    assert (found.outcome.error, found.outcome.output, found.outcome.usage) == (None, "It prints 42.", Usage())
    assert found.outcome.session is not None
    results = [draft.data["isError"] for draft in found.drafts if draft.type is EventType.TOOL_FINISHED]
    assert results == [False, False, True]


def test_every_scene_is_recorded() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(scenes(""))


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.name)
def test_no_machine_and_no_secret_in_it(path: Path) -> None:
    text = path.read_text()
    assert not re.findall(r'(?<=")/(?!workspace|config|home/agent|box|does/not/exist)[a-z]+/[^"]*', text)
    assert "canary" not in text
    assert "sk-ant" not in text

"""Events as entries of a log."""

from datetime import UTC, datetime

import pytest

from treadle.domain.events import LOG_TYPES, Event, EventType, JsonObject
from treadle.ports.directory import SessionLog
from treadle.services.agent_log import LogEntry, MessageType, entry_of, entry_of_line

DATE = datetime(2026, 10, 1, tzinfo=UTC)


def entry(type_: EventType, **data: object) -> LogEntry:
    given: JsonObject = data  # type: ignore[assignment]  # tests know what they put in
    return entry_of(Event(1, 1, type_, given, DATE))


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        (
            EventType.STEP_STARTED,
            {"text": "Do it", "isCommitable": True},
            LogEntry(MessageType.USER_MESSAGE, DATE, observation="Do it"),
        ),
        (EventType.ENGINE_TEXT, {"text": "I look"}, LogEntry(MessageType.PLAN_EVALUATION, DATE, thought="I look")),
        (EventType.ENGINE_THOUGHT, {"text": "Hm"}, LogEntry(MessageType.PLAN_EVALUATION, DATE, thought="Hm")),
        (
            EventType.TOOL_FINISHED,
            {"id": "t", "tool": "Bash", "input": {"command": "ls"}, "output": "a", "isError": False},
            LogEntry(
                MessageType.ACTION,
                DATE,
                tool_name="Bash",
                tool_input={"command": "ls"},
                tool_output={"output": "a", "is_error": False},
            ),
        ),
        (
            EventType.TOOL_FINISHED,
            {"id": "t", "output": "a", "isError": True},
            LogEntry(
                MessageType.ACTION,
                DATE,
                tool_name="unknown",
                tool_input={},
                tool_output={"output": "a", "is_error": True},
            ),
        ),
        (
            EventType.STEP_FINISHED,
            {"status": "Success", "failureDetails": None, "output": "Done."},
            LogEntry(MessageType.FINAL_ANSWER, DATE, observation="Done."),
        ),
        (
            EventType.STEP_FINISHED,
            {"status": "Failed", "failureDetails": "It broke.", "output": None},
            LogEntry(MessageType.ERROR, DATE, observation="It broke."),
        ),
        (
            EventType.RUN_FINISHED,
            {"status": "Failed", "failureDetails": "No such branch."},
            LogEntry(MessageType.ERROR, DATE, observation="No such branch."),
        ),
        (
            EventType.RUN_FINISHED,
            {"status": "Killed", "failureDetails": None},
            LogEntry(MessageType.ERROR, DATE, observation="The run was stopped."),
        ),
        (
            EventType.ENGINE_RETRY,
            {"by": "runner", "reason": "Overloaded.", "attempt": 1, "delaySeconds": 2.5},
            LogEntry(MessageType.ERROR, DATE, observation="Overloaded. Trying again after 2.5 s."),
        ),
        (
            EventType.SETUP_FINISHED,
            {"sandbox": 3, "exitCode": 1, "durationMs": 20, "isKept": False},
            LogEntry(
                MessageType.ACTION,
                DATE,
                tool_name="setup_commands",
                tool_input={"sandbox_id": 3},
                tool_output={"exit_code": 1, "duration_ms": 20, "is_kept": False},
                observation="The setup commands ended with exit code 1.",
            ),
        ),
        (
            EventType.SETUP_FINISHED,
            {"sandbox": 3, "exitCode": None, "reason": "they took too long", "durationMs": 20, "isKept": False},
            LogEntry(
                MessageType.ACTION,
                DATE,
                tool_name="setup_commands",
                tool_input={"sandbox_id": 3},
                tool_output={"exit_code": None, "duration_ms": 20, "is_kept": False},
                observation="The setup commands were ended: they took too long.",
            ),
        ),
        (
            EventType.PULL_REQUEST_OPENED,
            {"id": 1, "number": 7, "url": "https://forge.example/7", "title": "T"},
            LogEntry(
                MessageType.INITIAL_PR_GENERATION,
                DATE,
                observation={"id": 1, "number": 7, "url": "https://forge.example/7", "title": "T"},
            ),
        ),
        (
            EventType.PULL_REQUEST_FAILED,
            {"reason": "Refused."},
            LogEntry(MessageType.PR_CREATION_FAILED, DATE, observation="Refused."),
        ),
    ],
)
def test_entries(type_: EventType, data: dict[str, object], expected: LogEntry) -> None:
    assert entry(type_, **data) == expected


@pytest.mark.parametrize("value", [None, "text", 3, ["a"], {"a": 1}])
def test_what_goes_into_a_tool_is_always_an_object(value: object) -> None:
    found = entry(EventType.TOOL_FINISHED, tool="T", input=value, output="").tool_input
    assert found == ({} if value is None else value if isinstance(value, dict) else {"input": value})


@pytest.mark.parametrize("type_", sorted(LOG_TYPES))
def test_an_event_without_its_data_is_an_entry_all_the_same(type_: EventType) -> None:
    assert entry(type_).date == DATE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"type": "user", "message": {"role": "user", "content": "Do it"}},
            LogEntry(MessageType.USER_MESSAGE, DATE, observation="Do it"),
        ),
        (
            {"type": "assistant", "message": {"content": [{"type": "text", "text": "I look"}]}},
            LogEntry(MessageType.PLAN_EVALUATION, DATE, thought="I look"),
        ),
        (
            {"type": "assistant", "message": {"content": [{"type": "thinking", "thinking": "Hm"}]}},
            LogEntry(MessageType.PLAN_EVALUATION, DATE, thought="Hm"),
        ),
        (
            {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash", "input": {"a": 1}}]}},
            LogEntry(MessageType.ACTION, DATE, tool_name="Bash", tool_input={"a": 1}),
        ),
        (
            {"type": "user", "message": {"content": [{"type": "tool_result", "content": "out"}]}},
            LogEntry(MessageType.ACTION, DATE, tool_output={"output": "out", "is_error": False}),
        ),
        (
            {"type": "summary", "summary": "All of it"},
            LogEntry(MessageType.PLAN_EVALUATION, DATE, observation={"type": "summary", "summary": "All of it"}),
        ),
        (
            {"message": {"content": [3, {"type": "text"}]}},
            LogEntry(MessageType.PLAN_EVALUATION, DATE, observation={"message": {"content": [3, {"type": "text"}]}}),
        ),
    ],
)
def test_lines_of_a_session_elsewhere(data: JsonObject, expected: LogEntry) -> None:
    assert entry_of_line(SessionLog(1, data, DATE)) == expected

"""A run's log as somebody reads it who asked an agent: what was asked, thought, done, answered, and what went wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from treadle.domain.events import Event, EventType, JsonObject, JsonValue
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports.directory import SessionLog

#: Stands for a tool in the entry that tells of the repository's setup commands.
SETUP_TOOL = "setup_commands"
VALIDATION_TOOL = "validation_command"


class MessageType(StrEnum):
    """Of the documentation's types, those that a run has entries for."""

    ACTION = "ACTION"  # a tool, with what went in and what came out
    PLAN_EVALUATION = "PLAN_EVALUATION"  # what the agent thinks and says on its way
    FINAL_ANSWER = "FINAL_ANSWER"
    ERROR = "ERROR"
    USER_MESSAGE = "USER_MESSAGE"  # a prompt
    INITIAL_PR_GENERATION = "INITIAL_PR_GENERATION"
    PR_CREATION_FAILED = "PR_CREATION_FAILED"


@dataclass(frozen=True, slots=True)
class LogEntry:
    message_type: str
    date: datetime
    thought: str | None = None
    tool_name: str | None = None
    tool_input: JsonObject | None = None
    tool_output: JsonObject | None = None
    observation: JsonObject | str | None = None


def entry_of(event: Event) -> LogEntry:
    """An event of `ports.RunStore.log`."""
    return _ENTRIES.get(event.type, _failed)(event.data, event.date)


def entry_of_line(line: SessionLog) -> LogEntry:
    """What a CLI on somebody's own machine reported: a line of its conversation. One that is not understood is shown
    as it is."""
    data, date = line.data, line.date
    message = _object(data.get("message"))
    content = message.get("content")
    if isinstance(content, str) and content:
        return _spoken(data.get("type"), content, date)
    for block in content if isinstance(content, Sequence) and not isinstance(content, str) else ():
        part = _object(block)
        match part.get("type"):
            case "text" | "thinking" as kind if said := _text(part, kind):
                return _spoken(data.get("type"), said, date)
            case "tool_use":
                given, name = _object(part.get("input")), _text(part, "name") or "unknown"
                return LogEntry(MessageType.ACTION, date, tool_name=name, tool_input=given)
            case "tool_result":
                output: JsonObject = {"output": part.get("content"), "is_error": bool(part.get("is_error"))}
                return LogEntry(MessageType.ACTION, date, tool_output=output)
    return LogEntry(MessageType.PLAN_EVALUATION, date, observation=data)


def _spoken(who: JsonValue, said: str, date: datetime) -> LogEntry:
    if who == "user":
        return LogEntry(MessageType.USER_MESSAGE, date, observation=said)
    return LogEntry(MessageType.PLAN_EVALUATION, date, thought=said)


def _asked(data: JsonObject, date: datetime) -> LogEntry:
    return LogEntry(MessageType.USER_MESSAGE, date, observation=_text(data, "text"))


def _said(data: JsonObject, date: datetime) -> LogEntry:
    return LogEntry(MessageType.PLAN_EVALUATION, date, thought=_text(data, "text"))


def _did(data: JsonObject, date: datetime) -> LogEntry:
    return LogEntry(
        MessageType.ACTION,
        date,
        tool_name=_text(data, "tool") or "unknown",
        tool_input=_object(data.get("input")),
        tool_output={"output": data.get("output", ""), "is_error": bool(data.get("isError"))},
    )


def _set_up(data: JsonObject, date: datetime) -> LogEntry:
    code, reason = data.get("exitCode"), _text(data, "reason")
    ended = f"were ended: {reason}" if reason else "were ended" if code is None else f"ended with exit code {code}"
    return LogEntry(
        MessageType.ACTION,
        date,
        tool_name=SETUP_TOOL,
        tool_input={"sandbox_id": data.get("sandbox")},
        tool_output={"exit_code": code, "duration_ms": data.get("durationMs"), "is_kept": data.get("isKept")},
        observation=f"The setup commands {ended}.",
    )


def _validated(data: JsonObject, date: datetime) -> LogEntry:
    code, reason = data.get("exitCode"), _text(data, "reason")
    ended = f"was ended: {reason}" if reason else "passed" if code == 0 else f"failed with exit code {code}"
    return LogEntry(
        MessageType.ACTION,
        date,
        tool_name=VALIDATION_TOOL,
        tool_input={"command": data.get("command")},
        tool_output={"exit_code": code, "duration_ms": data.get("durationMs"), "attempt": data.get("attempt")},
        observation=f"{_text(data, 'command')} {ended}.",
    )


def _answered(data: JsonObject, date: datetime) -> LogEntry:
    if data.get("status") != StepStatus.SUCCESS:
        return _failed(data, date)
    return LogEntry(MessageType.FINAL_ANSWER, date, observation=_text(data, "output"))


def _failed(data: JsonObject, date: datetime) -> LogEntry:
    said = _text(data, "failureDetails")
    if not said:
        said = "The run was stopped." if data.get("status") == RunStatus.KILLED else "It failed."
    return LogEntry(MessageType.ERROR, date, observation=said)


def _tried_again(data: JsonObject, date: datetime) -> LogEntry:
    reason, delay = _text(data, "reason"), data.get("delaySeconds")
    wait = f" Trying again after {delay:g} s." if isinstance(delay, int | float) else ""
    return LogEntry(MessageType.ERROR, date, observation=f"{reason}{wait}")


def _opened(data: JsonObject, date: datetime) -> LogEntry:
    shown = {name: data.get(name) for name in ("id", "number", "url", "title")}
    return LogEntry(MessageType.INITIAL_PR_GENERATION, date, observation=shown)


def _not_opened(data: JsonObject, date: datetime) -> LogEntry:
    return LogEntry(MessageType.PR_CREATION_FAILED, date, observation=_text(data, "reason"))


_ENTRIES: Mapping[EventType, Callable[[JsonObject, datetime], LogEntry]] = {
    EventType.STEP_STARTED: _asked,
    EventType.ENGINE_TEXT: _said,
    EventType.ENGINE_THOUGHT: _said,
    EventType.TOOL_FINISHED: _did,
    EventType.SETUP_FINISHED: _set_up,
    EventType.VALIDATION_FINISHED: _validated,
    EventType.STEP_FINISHED: _answered,
    EventType.ENGINE_RETRY: _tried_again,
    EventType.RUN_FINISHED: _failed,
    EventType.PULL_REQUEST_OPENED: _opened,
    EventType.PULL_REQUEST_FAILED: _not_opened,
}


def _text(data: JsonObject, name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _object(value: JsonValue) -> JsonObject:
    """A tool's input. The log knows objects alone, and engines give others now and then."""
    if isinstance(value, Mapping):
        return value
    return {} if value is None else {"input": value}

"""Reads the stream of Claude Code (`--output-format stream-json --verbose`); the Dummy engine speaks it too.

One JSON object a line: `system` (init, api_retry, permission_denied), `assistant` (text, thinking, tool_use), `user`
(tool_result), `rate_limit_event`, and `result`, which is the last word. What is no such object becomes a notice, what
is of an unknown type is passed over. What the failures mean is in `claude_errors`.

Input tokens include what was written to and read from the cache. Without a `result`, as after a timeout, tokens are
added up from the messages, and the cost is unknown: 0.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from treadle.domain.errors import EngineError, EngineFailed, EngineRefused, StructuredOutputInvalid
from treadle.domain.events import Draft, EventType, JsonObject, JsonValue
from treadle.domain.run import EngineName, StructuredOutput, Usage
from treadle.engines import structured
from treadle.engines.claude_errors import ClaudeEvidence
from treadle.engines.lines import (
    as_amount,
    as_count,
    as_object,
    as_objects,
    as_text,
    clean,
    decode,
    text_event,
    tool_finished,
    tool_started,
)
from treadle.ports import Outcome

#: No count or cost is taken for larger, whatever a line says, so that every database can hold the sum.
_MAX_COUNT, _MAX_COST = 10**12, 10.0**6

#: A session's name goes into paths and argv: nothing else is taken for one.
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

_TOOL_USES = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})

#: Exit codes of a process that was ended from outside, by SIGKILL or SIGTERM.
_ENDED = frozenset({128 + 9, 128 + 15})


class ClaudeReader:
    """An `EngineReader` for one call. `session`: the conversation that it resumes, until the CLI names another."""

    def __init__(self, engine: EngineName, *, is_structured: bool, session: str | None) -> None:
        self._engine = engine
        self._is_structured = is_structured
        self._session = session
        self._result: JsonObject | None = None
        self._last_text = ""
        self._spent: dict[str, Usage] = {}  # by message, for each of its blocks comes in a line of its own
        self._evidence = ClaudeEvidence(engine)
        self._readers: Mapping[str, Callable[[JsonObject], list[Draft]]] = {
            "system": self._system,
            "assistant": self._assistant,
            "user": self._user,
            "rate_limit_event": self._rate_limit,
            "result": self._end,
        }

    @property
    def is_final(self) -> bool:
        return self._result is not None

    def feed(self, line: bytes) -> Sequence[Draft]:
        found = decode(line)
        if found is None:
            text = line.decode(errors="replace").strip()
            self._evidence.note_text(text)
            return text_event(EventType.ENGINE_NOTICE, text)
        session = as_text(found.get("session_id"))
        if _SESSION.fullmatch(session):
            self._session = session
        read = self._readers.get(as_text(found.get("type")))
        return read(found) if read is not None else []

    def finish(self, exit_code: int, stderr: str) -> Outcome:
        result = self._result
        if result is None:
            spent = sum(self._spent.values(), Usage())
            return Outcome(None, None, self._session, spent, self._evidence.without_result(exit_code, stderr))
        answer, error = self._answer(result, exit_code)
        if error is not None:
            return Outcome(None, None, self._session, _usage_of(result), error)
        output = answer.output if answer is not None else clean(as_text(result.get("result"))) or self._last_text
        return Outcome(output, answer, self._session, _usage_of(result), None)

    # ---- the lines ---------------------------------------------------------------------------------------------------

    def _system(self, line: JsonObject) -> list[Draft]:
        match line.get("subtype"):
            case "init":
                tools = line.get("tools")
                start: JsonObject = {
                    "model": clean(as_text(line.get("model"))) or None,
                    "session": self._session,
                    "tools": len(tools) if isinstance(tools, list) else 0,
                }
                return [Draft(EventType.ENGINE_STARTED, start)]
            case "api_retry":
                status, kind = _count(line, "error_status"), clean(as_text(line.get("error")))
                retry: JsonObject = {
                    "reason": f"the API answered {status} ({kind})" if status else kind or "no answer from the API",
                    "attempt": _count(line, "attempt") + 1,
                    "delaySeconds": min(as_amount(line.get("retry_delay_ms")) / 1000, _MAX_COST),
                    "by": "engine",
                }
                return [Draft(EventType.ENGINE_RETRY, retry)]
            case "permission_denied":
                tool, why = as_text(line.get("tool_name")) or "a tool", as_text(line.get("message"))
                return text_event(EventType.ENGINE_NOTICE, f"The use of {tool} was denied. {why}")
            case "compact_boundary":
                return text_event(EventType.ENGINE_NOTICE, "The conversation was shortened to fit the model.")
        return []

    def _assistant(self, line: JsonObject) -> list[Draft]:
        message = as_object(line.get("message"))
        self._note_usage(message)
        is_error = bool(as_text(line.get("error")))  # the CLI speaks in the model's place
        if is_error:
            self._evidence.note_error(line)
        drafts: list[Draft] = []
        for block in _blocks(message):
            kind = as_text(block.get("type"))
            if kind == "text":
                text = as_text(block.get("text"))
                if line.get("parent_tool_use_id") is None:
                    self._last_text = clean(text)
                drafts += text_event(EventType.ENGINE_NOTICE if is_error else EventType.ENGINE_TEXT, text)
            elif kind == "thinking":
                drafts += text_event(EventType.ENGINE_THOUGHT, as_text(block.get("thinking")))
            elif kind in _TOOL_USES:
                drafts.append(tool_started(as_text(block.get("id")), as_text(block.get("name")), block.get("input")))
        return drafts

    def _note_usage(self, message: JsonObject) -> None:
        usage, name = as_object(message.get("usage")), as_text(message.get("id"))
        if usage and name:
            now, before = _tokens(usage), self._spent.get(name, Usage())
            self._spent[name] = Usage(
                input_tokens=max(now.input_tokens, before.input_tokens),
                output_tokens=max(now.output_tokens, before.output_tokens),
            )

    def _user(self, line: JsonObject) -> list[Draft]:
        drafts: list[Draft] = []
        for block in _blocks(as_object(line.get("message"))):
            if as_text(block.get("type")).endswith("tool_result"):
                text, is_error = _flat(block.get("content")), block.get("is_error") is True
                drafts.append(tool_finished(as_text(block.get("tool_use_id")), text, is_error=is_error))
            elif line.get("isSynthetic") is True:  # the CLI speaks in the user's place
                drafts += text_event(EventType.ENGINE_NOTICE, as_text(block.get("text")))
        return drafts

    def _rate_limit(self, line: JsonObject) -> list[Draft]:
        info = as_object(line.get("rate_limit_info"))
        self._evidence.note_limit(info)
        status = as_text(info.get("status")).replace("_", " ")
        if status in {"", "allowed"}:
            return []
        which = as_text(info.get("rateLimitType")).replace("_", " ") or "unknown"
        return text_event(EventType.ENGINE_NOTICE, f"The {which} usage limit: {status}.")

    def _end(self, line: JsonObject) -> list[Draft]:
        if self._result is None:
            self._result = line
        return []

    # ---- the outcome -------------------------------------------------------------------------------------------------

    def _answer(self, result: JsonObject, exit_code: int) -> tuple[StructuredOutput | None, EngineError | None]:
        """A structured answer where there is one, and what is wrong where something is."""
        if result.get("is_error") is not False:
            return None, self._evidence.of(result)
        if denials := as_objects(result.get("permission_denials")):
            tools = ", ".join(sorted({clean(as_text(denial.get("tool_name"))) or "a tool" for denial in denials}))
            return None, EngineRefused(f"{self._engine} was denied the use of {tools}.")
        if exit_code > 0 and exit_code not in _ENDED:
            return None, EngineFailed(f"{self._engine} ended with exit code {exit_code} after its answer.")
        return self._structured(result) if self._is_structured else (None, None)

    def _structured(self, result: JsonObject) -> tuple[StructuredOutput | None, EngineError | None]:
        if "structured_output" not in result:
            return None, StructuredOutputInvalid(f"{self._engine} did not give the structured output asked for.")
        try:
            answer = structured.parse(result["structured_output"])
        except ValueError as fault:
            return None, StructuredOutputInvalid(
                f"{self._engine}'s structured output is not valid: {clean(str(fault))}."
            )
        return replace(answer, output=clean(answer.output), thinking=clean(answer.thinking)), None


def _usage_of(result: JsonObject) -> Usage:
    """This call's usage, all models and subagents. `total_cost_usd` and `modelUsage` of a resumed conversation count
    its earlier calls again; `model_usage_since_last_result` does not. Without it: the older, per-call `usage`."""
    duration = _count(result, "duration_ms")
    if not isinstance(result.get("model_usage_since_last_result"), Mapping):
        cost = min(as_amount(result.get("total_cost_usd")), _MAX_COST)
        return replace(_tokens(as_object(result.get("usage"))), cost_usd=cost, duration_ms=duration)
    models = [as_object(each) for each in as_object(result["model_usage_since_last_result"]).values()]
    cost = min(sum(as_amount(model.get("costUSD")) for model in models), _MAX_COST)
    return replace(sum(map(_tokens, models), Usage()), cost_usd=cost, duration_ms=duration)


def _tokens(found: JsonObject) -> Usage:
    """In either spelling: `input_tokens` of a message, `inputTokens` of a model."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    models_names = ("inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens")
    return Usage(
        input_tokens=sum(_count(found, name) for name in names + models_names),
        output_tokens=_count(found, "output_tokens") + _count(found, "outputTokens"),
    )


def _count(found: JsonObject, name: str) -> int:
    return min(as_count(found.get(name)), _MAX_COUNT)


def _blocks(message: JsonObject) -> list[JsonObject]:
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_objects(content)


def _flat(content: JsonValue) -> str:
    """A tool's output as text; what is no text, such as an image, is named."""
    if isinstance(content, str):
        return content
    parts = []
    for block in as_objects(content):
        text = block.get("text")
        parts.append(text if isinstance(text, str) else f"[{as_text(block.get('type')) or 'unknown'}]")
    return "\n".join(parts)

"""Reads the stream of the Claude CLI (`--output-format stream-json --verbose`), which the Dummy engine speaks too.

Input tokens include what was written to and read from the cache. Without a `result` line, as after a timeout, tokens
are added up from the messages, and the cost is unknown: 0. Of a resumed conversation `total_cost_usd` and `modelUsage`
count its earlier calls again (seen with 2.1.330); `model_usage_since_last_result` does not.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from treadle.domain.errors import EngineError, EngineFailed, StructuredOutputInvalid
from treadle.domain.events import Draft, EventType, JsonObject, JsonValue
from treadle.domain.run import EngineName, StructuredOutput, Usage
from treadle.engines import structured
from treadle.engines.claude_failures import ClaudeFault
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

#: A session's name goes into paths and argv: nothing else is taken for one.
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")

_TOOL_USES = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})

#: Exit codes of a process that was ended from outside, by SIGKILL or SIGTERM.
_ENDED = frozenset({128 + 9, 128 + 15})


class ClaudeReader:
    """One call's lines. A `result` line is final, whatever the process does afterwards."""

    def __init__(
        self, *, is_structured: bool, session: str | None = None, engine: EngineName = EngineName.CLAUDE
    ) -> None:
        """`session`: the conversation that the call resumes, until the CLI names another. `engine`: as messages call
        it."""
        self._engine = engine
        self._is_structured = is_structured
        self._session = session
        self._result: JsonObject | None = None
        self._last_text = ""
        self._fault = ClaudeFault(engine)
        self._spent: dict[str, Usage] = {}  # by message, since one message comes in several lines
        self._handlers: Mapping[str, Callable[[JsonObject], list[Draft]]] = {
            "system": self._on_system,
            "assistant": self._on_assistant,
            "user": self._on_user,
            "rate_limit_event": self._on_rate_limit,
            "result": self._on_result,
        }

    @property
    def is_final(self) -> bool:
        return self._result is not None

    def feed(self, line: bytes) -> Sequence[Draft]:
        """The events in a line. A kind of line that is not known is no event; a line that is no JSON is a notice."""
        message = decode(line)
        if message is None:
            text = line.decode(errors="replace").strip()
            self._fault.note_line(text)
            return text_event(EventType.ENGINE_NOTICE, text)
        session = as_text(message.get("session_id"))
        if _SESSION.fullmatch(session):
            self._session = session
        handler = self._handlers.get(as_text(message.get("type")))
        return handler(message) if handler else []

    def finish(self, exit_code: int, stderr: str) -> Outcome:
        """How the call ended. The result line decides; without one, the exit code and stderr explain."""
        result = self._result
        if result is None:
            usage = sum(self._spent.values(), Usage())
            return Outcome(None, None, self._session, usage, self._fault.without_result(exit_code, stderr))
        answer, error = self._answer(result, exit_code)
        if error is not None:
            return Outcome(None, None, self._session, _usage_of(result), error)
        output = answer.output if answer else clean(as_text(result.get("result"))) or self._last_text
        return Outcome(output, answer, self._session, _usage_of(result), None)

    def _answer(self, result: JsonObject, exit_code: int) -> tuple[StructuredOutput | None, EngineError | None]:
        if result.get("is_error") is not False or as_text(result.get("subtype")) != "success":
            return None, self._fault.of(result)
        if denied := as_objects(result.get("permission_denials")):
            tools = ", ".join(sorted({clean(as_text(each.get("tool_name"))) or "a tool" for each in denied}))
            return None, EngineFailed(f"{self._engine} was denied the use of {tools}.")
        if exit_code > 0 and exit_code not in _ENDED:
            return None, EngineFailed(f"{self._engine} ended with exit code {exit_code} after its answer.")
        return self._structured(result) if self._is_structured else (None, None)

    def _structured(self, result: JsonObject) -> tuple[StructuredOutput | None, EngineError | None]:
        if "structured_output" not in result:
            said = f"{self._engine} ended without the structured answer that was asked for."
            return None, StructuredOutputInvalid(said)
        try:
            answer = structured.parse(result["structured_output"])
        except ValueError as fault:
            said = f"{self._engine}'s structured answer is not valid: {clean(str(fault))}."
            return None, StructuredOutputInvalid(said)
        return replace(answer, output=clean(answer.output), thinking=clean(answer.thinking)), None

    def _on_system(self, message: JsonObject) -> list[Draft]:
        match message.get("subtype"):
            case "init":
                tools = message.get("tools")
                data: JsonObject = {
                    "model": clean(as_text(message.get("model"))) or None,
                    "session": self._session,
                    "tools": len(tools) if isinstance(tools, list) else 0,
                }
                return [Draft(EventType.ENGINE_STARTED, data)]
            case "api_retry":
                status, kind = as_count(message.get("error_status")), clean(as_text(message.get("error")))
                retry: JsonObject = {
                    "reason": f"the API answered {status} ({kind})" if status else kind or "no answer from the API",
                    "attempt": as_count(message.get("attempt")) + 1,
                    "delaySeconds": as_amount(message.get("retry_delay_ms")) / 1000,
                }
                return [Draft(EventType.ENGINE_RETRY, retry)]
            case "permission_denied":
                tool = as_text(message.get("tool_name")) or "a tool"
                return text_event(EventType.ENGINE_NOTICE, f"The use of {tool} was denied.")
            case "compact_boundary":
                return text_event(EventType.ENGINE_NOTICE, "The conversation was shortened to fit the model.")
        return []

    def _on_assistant(self, message: JsonObject) -> list[Draft]:
        body = as_object(message.get("message"))
        self._note_usage(body)
        is_error = bool(as_text(message.get("error")))  # the CLI's own words in the model's place
        if is_error:
            self._fault.note_message(message)
        drafts: list[Draft] = []
        for block in _blocks(body):
            kind = as_text(block.get("type"))
            if kind == "text":
                text = as_text(block.get("text"))
                if not is_error and message.get("parent_tool_use_id") is None:
                    self._last_text = clean(text)
                drafts += text_event(EventType.ENGINE_NOTICE if is_error else EventType.ENGINE_TEXT, text)
            elif kind == "thinking":
                drafts += text_event(EventType.ENGINE_THOUGHT, as_text(block.get("thinking")))
            elif kind in _TOOL_USES:
                drafts.append(tool_started(as_text(block.get("id")), as_text(block.get("name")), block.get("input")))
        return drafts

    @staticmethod
    def _on_user(message: JsonObject) -> list[Draft]:
        drafts: list[Draft] = []
        for block in _blocks(as_object(message.get("message"))):
            if as_text(block.get("type")).endswith("tool_result"):
                tool_id, output = as_text(block.get("tool_use_id")), _result_text(block.get("content"))
                drafts.append(tool_finished(tool_id, output, is_error=block.get("is_error") is True))
            elif message.get("isSynthetic") is True:  # the CLI speaks in the user's place
                drafts += text_event(EventType.ENGINE_NOTICE, as_text(block.get("text")))
        return drafts

    def _on_rate_limit(self, message: JsonObject) -> list[Draft]:
        info = as_object(message.get("rate_limit_info"))
        self._fault.note_limit(info)
        status = as_text(info.get("status"))
        if status in {"", "allowed"}:
            return []
        which = as_text(info.get("rateLimitType")).replace("_", " ")
        return text_event(EventType.ENGINE_NOTICE, f"Usage limit {which}: {status.replace('_', ' ')}.")

    def _on_result(self, message: JsonObject) -> list[Draft]:
        if self._result is None:
            self._result = message
        return []

    def _note_usage(self, body: JsonObject) -> None:
        message_id, now = as_text(body.get("id")), _tokens(as_object(body.get("usage")))
        before = self._spent.get(message_id, Usage())
        # Each block of a message comes in a line of its own, and each repeats the message's usage.
        self._spent[message_id] = Usage(
            max(before.input_tokens, now.input_tokens), max(before.output_tokens, now.output_tokens)
        )


def _usage_of(result: JsonObject) -> Usage:
    """This call's usage, all models and subagents together."""
    since = result.get("model_usage_since_last_result")
    if isinstance(since, Mapping):
        models = [as_object(each) for each in since.values()]
        return replace(
            sum(map(_tokens, models), Usage()), cost_usd=sum(as_amount(each.get("costUSD")) for each in models)
        )
    models = [as_object(each) for each in as_object(result.get("modelUsage")).values()]
    spent = sum(map(_tokens, models), Usage()) if models else _tokens(as_object(result.get("usage")))
    return replace(spent, cost_usd=as_amount(result.get("total_cost_usd")))


def _tokens(found: JsonObject) -> Usage:
    """Tokens in either spelling: `input_tokens` of a message, `inputTokens` of a model's usage."""

    def count(snake: str, camel: str) -> int:
        return as_count(found.get(snake, found.get(camel)))

    return Usage(
        input_tokens=count("input_tokens", "inputTokens")
        + count("cache_creation_input_tokens", "cacheCreationInputTokens")
        + count("cache_read_input_tokens", "cacheReadInputTokens"),
        output_tokens=count("output_tokens", "outputTokens"),
    )


def _blocks(body: JsonObject) -> list[JsonObject]:
    content = body.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_objects(content)


def _result_text(content: JsonValue) -> str:
    """A tool's output as text; what is no text, such as an image, is named."""
    if isinstance(content, str):
        return content
    parts = []
    for block in as_objects(content):
        text = block.get("text")
        parts.append(text if isinstance(text, str) else f"[{as_text(block.get('type')) or 'unknown'}]")
    return "\n".join(parts)

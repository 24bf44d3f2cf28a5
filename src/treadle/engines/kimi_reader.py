"""Reads the stream of the Kimi CLI (`--output-format stream-json`), and its last words on stderr.

The stream has no usage: a reader's Usage is all zeros, and `KimiEngine.spent` has the tokens.
"""

import re
from collections.abc import Mapping, Sequence

from treadle.domain.errors import (
    EngineAuthenticationFailed,
    EngineError,
    EngineFailed,
    EngineNotInstalled,
    EngineRefused,
    StructuredOutputInvalid,
    UsageLimitReached,
)
from treadle.domain.events import Draft, EventType, JsonObject, JsonValue
from treadle.domain.run import StructuredOutput, Usage
from treadle.engines import structured
from treadle.engines.lines import (
    as_amount,
    as_count,
    as_object,
    as_objects,
    as_text,
    clean,
    decode,
    signal_of,
    text_event,
    tool_finished,
    tool_started,
)
from treadle.ports import Outcome

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,100}")
_FAILED_COMMAND = re.compile(r"Command failed with exit code: \d+\.\s*$")

#: The agent's own commands write to the same stderr; the CLI's error begins a line, and the last one is it.
_ERROR = re.compile(r"^error: (?:failed to run prompt: )?(.*)$", re.MULTILINE)
_STATUS = re.compile(r"provider\.\w+: (\d{3})\b")
_QUOTA = re.compile(r"\bquota\b|account balance|usage limit", re.IGNORECASE)

#: What the provider's error is called; what is not here may pass.
_FAILURES: Mapping[str, type[EngineError]] = {
    "provider.auth_error": EngineAuthenticationFailed,
    "provider.not_configured": EngineRefused,
}
#: The API's statuses that trying again does not change.
_REFUSED = frozenset({400, 402, 404, 413})
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # a shell's exit codes
_SHOWN_CHARACTERS = 600


class KimiReader:
    """One call's lines. The hint how to resume comes last, and only after an answer."""

    def __init__(self, *, is_structured: bool, session: str | None, model: str) -> None:
        self._is_structured = is_structured
        self._session = session
        self._model = model
        self._is_final = False
        self._last_text = ""

    @property
    def is_final(self) -> bool:
        return self._is_final

    def feed(self, line: bytes) -> Sequence[Draft]:
        """The events in a line. A kind of line that is not known is no event; a line that is no JSON is a notice."""
        message = decode(line)
        if message is None:
            return text_event(EventType.ENGINE_NOTICE, line.decode(errors="replace"))
        match message.get("role"):
            case "meta":
                return self._on_meta(message)
            case "assistant":
                return self._on_assistant(message)
            case "tool":
                output = _text(message.get("content"))
                is_error = _FAILED_COMMAND.search(output) is not None  # the stream does not say it otherwise
                return [tool_finished(as_text(message.get("tool_call_id")), output, is_error=is_error)]
        return []

    def finish(self, exit_code: int, stderr: str) -> Outcome:
        """How the call ended."""
        answer: StructuredOutput | None = None
        error: EngineError | None = None
        if not self._is_final:
            error = _explain(exit_code, clean(stderr))
        elif self._is_structured:
            try:
                answer = structured.parse_text(self._last_text)
            except ValueError as fault:
                error = StructuredOutputInvalid(f"Kimi's last message is not the answer that was asked for: {fault}.")
        output = answer.output if answer else self._last_text
        return Outcome(
            output=output if error is None else None,
            structured_output=answer,
            session=self._session,
            usage=Usage(),
            error=error,
        )

    def _on_meta(self, message: JsonObject) -> list[Draft]:
        match message.get("type"):
            case "system.version":
                data: JsonObject = {"model": self._model, "session": self._session, "tools": 0}
                return [Draft(EventType.ENGINE_STARTED, data)]
            case "turn.step.retrying":
                status = as_count(message.get("status_code"))
                said = clean(as_text(message.get("error_message")))[:_SHOWN_CHARACTERS]
                retry: JsonObject = {
                    "reason": said or f"the API answered {status}",
                    "attempt": as_count(message.get("next_attempt")),
                    "delaySeconds": as_amount(message.get("delay_ms")) / 1000,
                    "by": "engine",
                }
                return [Draft(EventType.ENGINE_RETRY, retry)]
            case "session.resume_hint":
                session = as_text(message.get("session_id"))
                if _SESSION.fullmatch(session):
                    self._session = session
                self._is_final = True
        return []

    def _on_assistant(self, message: JsonObject) -> list[Draft]:
        text = _text(message.get("content"))
        if text.strip():
            self._last_text = clean(text)
        drafts = text_event(EventType.ENGINE_THOUGHT, as_text(message.get("reasoning_content")))
        drafts += text_event(EventType.ENGINE_TEXT, text)
        for call in as_objects(message.get("tool_calls")):
            function = as_object(call.get("function"))
            tool, arguments = as_text(function.get("name")), as_text(function.get("arguments"))
            drafts.append(tool_started(as_text(call.get("id")), tool, _arguments(arguments)))
        return drafts


def _text(content: JsonValue) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(text for block in as_objects(content) if (text := as_text(block.get("text"))))


def _arguments(arguments: str) -> JsonValue:
    """A tool's arguments, which the stream holds as JSON in a text; the text itself when the model wrote no JSON."""
    found = decode(arguments.encode(errors="surrogatepass"))
    return arguments if found is None else found


def _explain(exit_code: int, stderr: str) -> EngineError:
    errors = _ERROR.findall(stderr)
    if not errors:
        return _without_words(exit_code, stderr.strip()[-_SHOWN_CHARACTERS:])
    said = errors[-1].strip()[:_SHOWN_CHARACTERS]
    if _QUOTA.search(said):
        return UsageLimitReached(f"The quota of this Kimi account is used up: {said}", hint="Send another key.")
    found = _STATUS.match(said)
    failure = _FAILURES.get(said.partition(":")[0])
    if failure is None:
        failure = EngineRefused if found and int(found[1]) in _REFUSED else EngineFailed
    return failure(f"Kimi failed: {said}")


def _without_words(exit_code: int, stderr: str) -> EngineError:
    if exit_code in {_NOT_FOUND, _NOT_EXECUTABLE}:
        hint = "`treadle doctor` says what is missing."
        return EngineNotInstalled(f"The Kimi CLI could not be started: {stderr or f'exit code {exit_code}'}", hint=hint)
    if ended_by := signal_of(exit_code):
        return EngineFailed(f"Kimi was ended by {ended_by} before it had answered.")
    ending = f"Kimi ended with exit code {exit_code} before it had answered"
    return EngineFailed(f"{ending}: {stderr}" if stderr else f"{ending}.")

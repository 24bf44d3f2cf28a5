"""Starlark, each execution in a process of its own."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Final

from treadle.domain.errors import (
    ConfigurationError,
    KillRequested,
    LeaseLost,
    SealBroken,
    TooManyRequests,
    TreadleError,
    Unauthenticated,
)
from treadle.ports.scripting import (
    Execution,
    JsonObject,
    JsonValue,
    Pending,
    ScriptCall,
    ScriptEnd,
    ScriptFailure,
    ScriptFault,
    ScriptLimits,
    ScriptLine,
    ScriptOutcome,
    Syscalls,
    TellLine,
)
from treadle.scripting.calls import CALLS, digest_of
from treadle.scripting.line import Ended, Line, broken, open_line
from treadle.scripting.sizes import size_text

#: Interpreters of one host at once; others wait for their turn.
MAX_INTERPRETERS: Final = 4

#: What is no fault of the script, and may be gone later.
_PASSING: Final = (ConfigurationError, KillRequested, LeaseLost, SealBroken, TooManyRequests, Unauthenticated)

_SAME: Final = "A script that goes on must be what it was, and so must its inputs: run it anew instead."


class StarlarkHost:
    """A ScriptHost. One is enough for a process; it belongs to one event loop."""

    def __init__(self, *, at_once: int = MAX_INTERPRETERS) -> None:
        self._turns = asyncio.Semaphore(at_once)

    async def run(self, execution: Execution, syscalls: Syscalls, tell: TellLine) -> ScriptOutcome:
        conversation = _Conversation(execution, syscalls, tell)
        try:
            _check_sizes(execution)
            async with self._turns, open_line(execution.limits) as line:
                return await conversation.hold(line)
        except Ended as ended:
            return conversation.outcome(ScriptEnd.FAILED, failure=ended.failure)

    async def check(self, source: str, name: str = "script.star") -> ScriptFailure | None:
        execution = Execution(source, name=name)
        try:
            _check_sizes(execution)
            async with self._turns, open_line(execution.limits) as line:
                await line.say(_request(execution, only_check=True))
                message = await line.hear()
        except Ended as ended:
            return ended.failure
        return _failure(message) if "failed" in message else None


class _Conversation:
    """One execution, from the host's side."""

    def __init__(self, execution: Execution, syscalls: Syscalls, tell: TellLine) -> None:
        self._execution = execution
        self._limits = execution.limits
        self._journal = {answer.number: answer for answer in execution.journal}
        self._syscalls = syscalls
        self._tell = tell
        self._calls = 0
        self._lines = 0
        self._log_bytes = 0
        self._answers_bytes = 0

    async def hold(self, line: Line) -> ScriptOutcome:
        await line.say(_request(self._execution, only_check=False))
        while True:
            match message := await line.hear():
                case {"print": str(text)}:
                    await self._print(text, message)
                case {"call": int(), "name": str(), "arguments": dict()}:
                    call = self._call(message)
                    answer = await self._answer(call)
                    if isinstance(answer, Pending):
                        end = self.outcome(ScriptEnd.PENDING)
                        return replace(end, pending=answer, waits_in=call)
                    await line.say({"answer": answer})
                case {"done": output, "steps": int(steps)}:
                    self._refuse_fewer_calls()
                    return replace(self.outcome(ScriptEnd.SUCCESS), output=output, steps=steps)
                case {"failed": str()}:
                    return self.outcome(ScriptEnd.FAILED, failure=_failure(message))
                case _:
                    raise broken("it wrote what is no message")

    def outcome(self, end: ScriptEnd, *, failure: ScriptFailure | None = None) -> ScriptOutcome:
        printed = max(self._lines, self._execution.printed)
        return ScriptOutcome(end, failure=failure, calls=self._calls, printed=printed)

    async def _print(self, text: str, message: JsonObject) -> None:
        if self._lines >= self._limits.log_lines:
            raise _passed(f"The script printed more than {self._limits.log_lines:,} lines.", message)
        self._log_bytes += len(text.encode())
        if self._log_bytes > self._limits.log_bytes:
            raise _passed(f"The script printed more than {size_text(self._limits.log_bytes)}.", message)
        self._lines += 1
        if self._lines > self._execution.printed:
            await self._tell(ScriptLine(self._lines, text))

    def _call(self, message: JsonObject) -> ScriptCall:
        name, arguments = message["name"], message["arguments"]
        if name not in CALLS or not isinstance(name, str) or not isinstance(arguments, dict):
            raise broken(f"it asked for {name!r}")
        if message["call"] != self._calls + 1:
            raise broken("it lost count of its calls")
        if self._calls >= self._limits.calls:
            raise _passed(f"The script made more than {self._limits.calls:,} calls.", message)
        self._calls += 1
        return ScriptCall(self._calls, name, arguments, digest_of(name, arguments), _line(message))

    async def _answer(self, call: ScriptCall) -> JsonValue | Pending:
        answer = await self._answer_of(call)
        if isinstance(answer, Pending):
            return answer
        size = len(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
        if size > self._limits.answer_bytes:
            raise _ended_at(call, f"The answer to {call.name} is larger than {size_text(self._limits.answer_bytes)}.")
        self._answers_bytes += size
        if self._answers_bytes > self._limits.answers_bytes:
            raise _ended_at(
                call, f"The answers to the script's calls are larger than {size_text(self._limits.answers_bytes)}."
            )
        return answer

    async def _answer_of(self, call: ScriptCall) -> JsonValue | Pending:
        earlier = self._journal.get(call.number)
        if earlier is not None:
            self._refuse_another(call)
            return earlier.result
        try:
            return await self._syscalls.call(call)
        except _PASSING:
            raise
        except TreadleError as error:
            failure = ScriptFailure(ScriptFault.CALL, _said(call, error), call.line, hint=error.hint)
            raise Ended(failure) from error

    def _refuse_another(self, call: ScriptCall) -> None:
        earlier = self._journal[call.number]
        if earlier.name != call.name:
            said = f"Call {call.number:,} is {call.name} now and was {earlier.name} in an earlier execution."
        elif earlier.digest != call.digest:
            said = f"Call {call.number:,}, {call.name}, has other arguments than in an earlier execution."
        else:
            return
        raise Ended(ScriptFailure(ScriptFault.DIVERGED, said, call.line, hint=_SAME))

    def _refuse_fewer_calls(self) -> None:
        if self._calls < len(self._journal):
            said = f"The script made {self._calls:,} calls, and {len(self._journal):,} in an earlier execution."
            raise Ended(ScriptFailure(ScriptFault.DIVERGED, said, hint=_SAME))


def _request(execution: Execution, *, only_check: bool) -> JsonObject:
    return {
        "source": execution.source,
        "name": execution.name,
        "inputs": execution.inputs,
        "limits": dict(asdict(execution.limits)),
        "only_check": only_check,
    }


def _check_sizes(execution: Execution) -> None:
    limits: ScriptLimits = execution.limits
    try:
        source = len(execution.source.encode())
        inputs = len(json.dumps(execution.inputs, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise Ended(ScriptFailure(ScriptFault.SYNTAX, "The script or its inputs are no Unicode text.")) from None
    if source > limits.source_bytes:
        raise Ended(ScriptFailure(ScriptFault.LIMIT, f"The script is larger than {size_text(limits.source_bytes)}."))
    if inputs > limits.inputs_bytes:
        raise Ended(ScriptFailure(ScriptFault.LIMIT, f"The inputs are larger than {size_text(limits.inputs_bytes)}."))


def _failure(message: JsonObject) -> ScriptFailure:
    """Raises Ended for one that does not read."""
    match message:
        case {"failed": str(fault), "message": str(said), "trace": list(trace)} if fault in set(ScriptFault):
            places = tuple(_places(trace))
            line = places[-1][1] if places else None
            column = message.get("column")
            return ScriptFailure(
                ScriptFault(fault), said, line, column if isinstance(column, int) else None, trace=places
            )
        case _:
            raise broken("it wrote what is no message")


def _places(trace: list[JsonValue]) -> Iterator[tuple[str, int]]:
    for one in trace:
        match one:
            case [str(function), int(line)]:
                yield function, line
            case _:
                raise broken("it wrote what is no message")


def _line(message: JsonObject) -> int | None:
    line = message.get("line")
    return line if isinstance(line, int) else None


def _passed(said: str, message: JsonObject) -> Ended:
    return Ended(ScriptFailure(ScriptFault.LIMIT, said, _line(message)))


def _ended_at(call: ScriptCall, said: str) -> Ended:
    return Ended(ScriptFailure(ScriptFault.LIMIT, said, call.line))


def _said(call: ScriptCall, error: TreadleError) -> str:
    """With every fault that it names; the hint has a place of its own."""
    text = error.sentence()
    if error.hint:
        text = text.removesuffix(f" {error.hint}")
    return f"{call.name}: {text}"

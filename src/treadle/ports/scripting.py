"""Scripts: a small sandboxed language whose only way to the world is a call that the host answers.

An execution is deterministic: the same source, inputs and answers give the same calls, in the same order, and the same
lines of log. So a script that waits for hours costs nothing meanwhile: it is ended, and run again from its start later
with the journal of what its calls were answered.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

JsonValue: TypeAlias = str | int | float | bool | list["JsonValue"] | dict[str, "JsonValue"] | None
JsonObject: TypeAlias = dict[str, JsonValue]

#: Steps of one execution: each statement, expression and call is one.
MAX_SCRIPT_STEPS = 1_000_000

#: What one execution may allocate in all, in bytes, by the interpreter's count; freeing gives nothing back.
MAX_SCRIPT_ALLOCATED_BYTES = 256 << 20

#: What the process of one execution may map, in bytes.
MAX_SCRIPT_MEMORY_BYTES = 512 << 20

#: Seconds of processor that one execution may take.
SCRIPT_CPU_SECONDS = 10

#: Seconds that one execution may take, without those that it waits for its calls.
SCRIPT_SECONDS = 60.0

#: Calls of one script.
MAX_SCRIPT_CALLS = 1_000

#: The source of a script, in bytes of UTF-8.
MAX_SCRIPT_BYTES = 256 << 10

#: The inputs of a script as JSON, in bytes.
MAX_SCRIPT_INPUTS_BYTES = 256 << 10

#: The output of a script as JSON, in bytes.
MAX_SCRIPT_OUTPUT_BYTES = 1 << 20

#: What a script prints in all, in bytes.
MAX_SCRIPT_LOG_BYTES = 1 << 20

#: Lines that a script prints.
MAX_SCRIPT_LOG_LINES = 10_000

#: The arguments of one call as JSON, in bytes.
MAX_SCRIPT_ARGUMENTS_BYTES = 4 << 20

#: The answer to one call as JSON, in bytes.
MAX_SCRIPT_ANSWER_BYTES = 4 << 20

#: The answers to all calls of a script as JSON, in bytes.
MAX_SCRIPT_ANSWERS_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class ScriptLimits:
    """What one execution may take. Passing one ends the script with a sentence that names it."""

    steps: int = MAX_SCRIPT_STEPS
    allocated_bytes: int = MAX_SCRIPT_ALLOCATED_BYTES
    memory_bytes: int = MAX_SCRIPT_MEMORY_BYTES
    cpu_seconds: int = SCRIPT_CPU_SECONDS
    seconds: float = SCRIPT_SECONDS
    calls: int = MAX_SCRIPT_CALLS
    source_bytes: int = MAX_SCRIPT_BYTES
    inputs_bytes: int = MAX_SCRIPT_INPUTS_BYTES
    output_bytes: int = MAX_SCRIPT_OUTPUT_BYTES
    log_bytes: int = MAX_SCRIPT_LOG_BYTES
    log_lines: int = MAX_SCRIPT_LOG_LINES
    arguments_bytes: int = MAX_SCRIPT_ARGUMENTS_BYTES
    answer_bytes: int = MAX_SCRIPT_ANSWER_BYTES
    answers_bytes: int = MAX_SCRIPT_ANSWERS_BYTES


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """What a script asks for. `number` counts its calls from 1; `arguments` are by name; `digest` is of name and
    arguments; `line` is the script's, and no part of the call's identity."""

    number: int
    name: str
    arguments: JsonObject
    digest: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the journal: what a call of an earlier execution was answered."""

    number: int
    name: str
    digest: str
    result: JsonValue


@dataclass(frozen=True, slots=True)
class Pending:
    """The answer is not there yet: the execution ends here, and another begins when it is. `run_id`: of the run that
    the script waits for."""

    run_id: str | None = None


class Syscalls(Protocol):
    """What a script may do. The host calls it for each call that the journal does not answer, one after another."""

    async def call(self, call: ScriptCall) -> JsonValue | Pending:
        """Does it. Returns a result only when that is durable in the journal, so that no other execution does it again;
        what it does before that must be safe to repeat (an id or a key derived from the script's run and
        `call.number`). Raises InvalidInput, NotFound and other TreadleErrors for what the script did wrong: it then
        ends Failed, at its line, with the sentence. Raises Unavailable for what may be tried again: `run` raises it
        too, and the script's run has not ended."""


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """What one `print` said. `number` counts from 1."""

    number: int
    text: str


#: Told of each printed line that the caller has not had yet, in order. Durable on return.
TellLine = Callable[[ScriptLine], Awaitable[None]]


class ScriptEnd(StrEnum):
    SUCCESS = "Success"
    FAILED = "Failed"
    PENDING = "Pending"


class ScriptFault(StrEnum):
    """Why a script ended Failed."""

    SYNTAX = "syntax"
    ERROR = "error"  # of the script as it ran
    FAIL = "fail"  # it called fail()
    CALL = "call"  # a call was refused
    LIMIT = "limit"
    DIVERGED = "diverged"  # another call than the journal has
    BROKEN = "broken"  # the interpreter died or did not keep to the protocol


@dataclass(frozen=True, slots=True)
class ScriptFailure:
    """`message` is one sentence without the place; `trace`: the lines of the calls on the way, outermost first."""

    fault: ScriptFault
    message: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    trace: tuple[tuple[str, int], ...] = ()  # a function's name and a line

    def sentence(self, name: str) -> str:
        """With its place in the script called `name`, as `name:line: message`."""
        place = f"{name}:{self.line}: " if self.line is not None else f"{name}: "
        return f"{place}{self.message} {self.hint}" if self.hint else f"{place}{self.message}"


@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """How an execution ended. `output`: what the script gave to `output`, of a Success only."""

    end: ScriptEnd
    output: JsonValue = None
    failure: ScriptFailure | None = None  # of a Failed one
    pending: Pending | None = None  # of a Pending one
    waits_in: ScriptCall | None = None  # the call that is Pending
    calls: int = 0
    printed: int = 0  # lines, those of earlier executions too
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Execution:
    """What to run. `journal` is in order, from number 1; `printed`: how many lines earlier executions have told of."""

    source: str
    inputs: JsonObject = field(default_factory=dict)
    name: str = "script.star"
    journal: Sequence[Answer] = ()
    printed: int = 0
    limits: ScriptLimits = ScriptLimits()


class ScriptHost(Protocol):
    """Runs scripts, each execution in a process of its own that has nothing but its line to the host."""

    async def run(self, execution: Execution, syscalls: Syscalls, tell: TellLine) -> ScriptOutcome:
        """One execution. Ends when the script does, at the first Pending call, or at a limit; the process is gone then,
        also on cancellation. Never raises for what a script does; raises what `syscalls` and `tell` raise, except for
        the errors that are the script's own."""

    async def check(self, source: str, name: str = "script.star") -> ScriptFailure | None:
        """What is wrong with the source, without running it: syntax and unknown names. None: nothing."""

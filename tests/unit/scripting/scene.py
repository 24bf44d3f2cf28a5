"""A host, and syscalls that a test scripts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from treadle.ports.scripting import (
    Answer,
    Execution,
    JsonObject,
    JsonValue,
    Pending,
    ScriptCall,
    ScriptEnd,
    ScriptFailure,
    ScriptLimits,
    ScriptLine,
    ScriptOutcome,
)
from treadle.scripting.host import StarlarkHost

Reply = JsonValue | Pending | Exception | Callable[[ScriptCall], JsonValue | Pending]


@dataclass
class Scene:
    """Syscalls that reply by name, and everything that the script did."""

    replies: Mapping[str, Reply] = field(default_factory=dict)
    calls: list[ScriptCall] = field(default_factory=list)
    journal: list[Answer] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    async def call(self, call: ScriptCall) -> JsonValue | Pending:
        self.calls.append(call)
        reply = self.replies.get(call.name)
        if isinstance(reply, Exception):
            raise reply
        found = reply(call) if callable(reply) else reply
        if not isinstance(found, Pending):
            self.journal.append(Answer(call.number, call.name, call.digest, found))
        return found

    async def tell(self, line: ScriptLine) -> None:
        self.lines.append(line.text)
        assert line.number == len(self.lines)

    async def run(
        self, source: str, inputs: JsonObject | None = None, limits: ScriptLimits | None = None
    ) -> ScriptOutcome:
        """One execution, from this scene's journal."""
        execution = Execution(
            source,
            inputs or {},
            journal=tuple(self.journal),
            printed=len(self.lines),
            limits=limits or ScriptLimits(),
        )
        return await StarlarkHost().run(execution, self, self.tell)


async def output_of(source: str, inputs: JsonObject | None = None, **replies: Reply) -> JsonValue:
    """What a script that ends well gives out. `codegeneration_get` replies to `codegeneration.get`."""
    outcome = await Scene({name.replace("_", ".", 1): reply for name, reply in replies.items()}).run(source, inputs)
    assert outcome.end == ScriptEnd.SUCCESS, outcome.failure
    return outcome.output


async def failure_of(source: str, limits: ScriptLimits | None = None, **replies: Reply) -> ScriptFailure:
    """Why a script failed."""
    scene = Scene({name.replace("_", ".", 1): reply for name, reply in replies.items()})
    outcome = await scene.run(source, limits=limits)
    assert outcome.end == ScriptEnd.FAILED, outcome
    assert outcome.failure is not None
    return outcome.failure

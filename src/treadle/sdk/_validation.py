"""The commands that must pass before a step is committed, as callers write them, and what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from treadle.sdk._wire import Fields, JsonValue


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """Shell commands, and how often the engine may mend what fails."""

    commands: tuple[str, ...]
    tries: int


#: The commands (three tries), or rules.
Validation: TypeAlias = Sequence[str] | ValidationRules


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What came of one command. `exit_code` None: it was ended, and `reason` says why. `output` is the end of what it
    said; `attempt` counts from 1."""

    command: str
    exit_code: int | None
    reason: str | None
    output: str
    duration_ms: int
    attempt: int

    @property
    def passed(self) -> bool:
        """Whether its exit code is 0."""
        return self.exit_code == 0

    @classmethod
    def read(cls, fields: Fields) -> "CommandResult":
        return cls(
            command=fields.text("command"),
            exit_code=fields.optional_integer("exitCode"),
            reason=fields.optional_text("reason"),
            output=fields.optional_text("output") or "",
            duration_ms=fields.integer("durationMs"),
            attempt=fields.integer("attempt"),
        )


def validation_json(validation: Validation) -> JsonValue:
    """As the API takes it; the server says what is wrong with it."""
    if isinstance(validation, ValidationRules):
        return {"commands": list(validation.commands), "tries": validation.tries}
    return [validation] if isinstance(validation, str) else list(validation)


def rules_of(fields: Fields, name: str) -> ValidationRules | None:
    """Rules in an answer. Raises WireError."""
    found = fields.optional_object(name)
    if found is None:
        return None
    return ValidationRules(tuple(str(command) for command in found.array("commands")), found.integer("tries"))


def results_of(fields: Fields, name: str) -> tuple[CommandResult, ...]:
    """Those in an answer; in lists there are none."""
    is_there = isinstance(fields.raw.get(name), Sequence) and not isinstance(fields.raw.get(name), str | Mapping)
    return tuple(CommandResult.read(each) for each in fields.objects(name)) if is_there else ()

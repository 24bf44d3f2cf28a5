"""The commands that must pass before a step is committed, and what came of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

#: Commands of one set of rules.
MAX_COMMANDS = 20

#: Of one command, in characters.
MAX_COMMAND = 4096

#: How often the engine may mend what fails, if nothing is said, and at most.
DEFAULT_TRIES = 3
MAX_TRIES = 10

#: What a result keeps of a command's output, its end, in characters.
MAX_OUTPUT = 4096

#: Results that a step keeps, the newest.
MAX_RESULTS = 60

_FORM = 'Must be a list of commands, ["make test"], or {"commands": ["make test"], "tries": 3}.'

#: As it is written down and sent.
ValidationJson: TypeAlias = dict[str, list[str] | int]


class CommandResultJson(TypedDict):
    """As it is stored and sent."""

    command: str
    exitCode: int | None
    reason: str | None
    output: str
    durationMs: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """Shell commands that are run one after another before a step is committed. When one fails the engine may mend the
    work, and then all run again, `tries` times. No commands: nothing is asked, whatever the repository asks."""

    commands: tuple[str, ...] = ()
    tries: int = DEFAULT_TRIES

    @classmethod
    def read(cls, value: object) -> "ValidationRules":
        """From JSON: a list of commands, or an object with `commands` and `tries`. Raises ValueError with a
        sentence."""
        match value:
            case list():
                return cls._checked(value, DEFAULT_TRIES)
            case {"commands": list() as commands, "tries": tries, **rest} if not rest:
                return cls._checked(commands, tries)
            case {"commands": list() as commands, **rest} if not rest:
                return cls._checked(commands, DEFAULT_TRIES)
        raise ValueError(_FORM)

    @classmethod
    def parse(cls, text: str) -> "ValidationRules":
        """From what `json` gave, written down, or the words of a command line: one command. Raises ValueError with a
        sentence."""
        if not text.lstrip().startswith(('["', "[]", '{"')):
            return cls.read([text])
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # numbers of many digits are no JSONDecodeError
            raise ValueError("Is not JSON of validation rules.") from None
        return cls.read(value)

    @classmethod
    def _checked(cls, commands: Sequence[object], tries: object) -> "ValidationRules":
        if len(commands) > MAX_COMMANDS:
            raise ValueError(f"At most {MAX_COMMANDS} commands are taken.")
        if isinstance(tries, bool) or not isinstance(tries, int) or not 0 <= tries <= MAX_TRIES:
            raise ValueError(f"'tries' is how often the engine may mend what fails: 0 to {MAX_TRIES}.")
        return cls(tuple(map(_command, commands)), tries)

    def json(self) -> ValidationJson:
        """What `read` takes."""
        return {"commands": list(self.commands), "tries": self.tries}


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What came of one command in one attempt."""

    command: str
    exit_code: int | None  # None: it was ended before it ended, or never began; `reason` says why
    reason: str | None
    output: str  # its end
    duration_ms: int
    attempt: int  # from 1

    @property
    def is_passed(self) -> bool:
        return self.exit_code == 0

    @property
    def how(self) -> str:
        """How it ended, to follow the command's name."""
        if self.exit_code is None:
            return f"was ended: {self.reason}"
        return "passed" if self.is_passed else f"failed with exit code {self.exit_code}"

    def json(self) -> CommandResultJson:
        return {
            "command": self.command,
            "exitCode": self.exit_code,
            "reason": self.reason,
            "output": self.output,
            "durationMs": self.duration_ms,
            "attempt": self.attempt,
        }

    @classmethod
    def from_json(cls, value: CommandResultJson) -> "CommandResult":
        """Of what `json` gave."""
        return cls(
            command=value["command"],
            exit_code=value["exitCode"],
            reason=value["reason"],
            output=value["output"],
            duration_ms=value["durationMs"],
            attempt=value["attempt"],
        )


def _command(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("Each command must be a text that is not empty.")
    if len(value) > MAX_COMMAND:
        raise ValueError(f"A command may have {MAX_COMMAND} characters at most; keep longer ones in a script.")
    if any(not (char.isprintable() or char in "\n\t") for char in value):
        raise ValueError(f"The command {value[:100]!a} holds a character that no shell takes.")
    return value

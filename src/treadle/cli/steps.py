"""The steps of a run as the command line and a plan file give them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from treadle.domain.errors import ConfigurationError, InvalidInput
from treadle.domain.plan import Plan, StepSpec
from treadle.domain.plan_variables import filled, name_in
from treadle.services.plans import parse_plan

#: A plan is written by hand; one larger than this, in bytes, is another file.
_MAX_PLAN_BYTES: Final = 1 << 20


def in_order(order: Iterable[str], steps: Sequence[str], analyses: Sequence[str], structured: bool) -> list[StepSpec]:
    """The steps as they stood on the command line; `order` names the option of each."""
    values: Mapping[str, Iterator[str]] = {"step": iter(steps), "analysis": iter(analyses)}
    return [StepSpec(next(values[name]), name == "step", structured) for name in order if name in values]


def text_or_file(value: str) -> str:
    """The text itself, or that of the file in `@FILE`. Raises ConfigurationError."""
    if not value.startswith("@"):
        return value
    return read_text(Path(value[1:]).expanduser())


def read_text(path: Path) -> str:
    """A UTF-8 file, whole. Raises ConfigurationError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"The file {path} is not UTF-8 text.") from None


def filled_plan(path: Path | None, variables: Sequence[str], repo: str | None) -> Plan:
    """The plan with the variables of the command line; without a file, an empty one. Raises ConfigurationError,
    InvalidInput naming every fault."""
    if path is None:
        if variables:
            raise InvalidInput({"--var": ["needs --plan"]}, "The options contradict.")
        return Plan()
    plan = load_plan(path)
    where = repo or plan.repo
    built_in = {"repository.url": where, "repository.name": name_in(where)} if where else {}
    return filled(plan, {**values_of(variables), **built_in})


def values_of(variables: Sequence[str]) -> Mapping[str, str]:
    """By name, of NAME=VALUE, where the value may be @FILE. Raises InvalidInput, ConfigurationError."""
    found: dict[str, str] = {}
    for given in variables:
        name, sign, value = given.partition("=")
        if not sign or not name or "." in name:
            raise InvalidInput({f"--var {given}": ["must be NAME=VALUE"]}, "The options cannot be read.")
        found[name] = text_or_file(value)
    return found


def load_plan(path: Path) -> Plan:
    """Reads a plan. Raises ConfigurationError for a file that is no YAML, InvalidInput naming every fault in one."""
    text = read_text(path)
    if len(text) > _MAX_PLAN_BYTES:
        raise ConfigurationError(f"The plan {path} is larger than {_MAX_PLAN_BYTES:,} bytes.")
    try:
        return parse_plan(text)
    except ValueError as error:
        raise ConfigurationError(f"The plan {path} is {error}.") from None

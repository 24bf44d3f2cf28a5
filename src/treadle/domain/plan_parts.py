"""The parts of a plan: its steps and variables, and how they are read. A fault is the end of a sentence."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from treadle.domain.events import JsonValue

#: Variables that one plan may declare.
MAX_VARIABLES = 100

#: Of a variable's name, in characters.
MAX_VARIABLE_NAME = 64

#: Of a variable's value, in characters.
MAX_VARIABLE_VALUE = 100_000

#: Of the description of a plan, or of a variable of it, in characters.
MAX_PLAN_DESCRIPTION = 2_000

VARIABLE_NAME: Final = rf"[A-Za-z_][A-Za-z0-9_-]{{0,{MAX_VARIABLE_NAME - 1}}}"

STEP_KINDS: Final = ("step", "analysis")
STEP_KEYS: Final = frozenset({*STEP_KINDS, "structured"})
VARIABLE_KEYS: Final = frozenset({"default", "description", "required"})

_NAME: Final = re.compile(VARIABLE_NAME)

#: Of a key that is none, so many characters are shown, and of such keys so many.
SHOWN: Final = 100

Faults = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step as asked for."""

    text: str
    is_commitable: bool = True
    is_structured: bool = False

    def json(self) -> JsonValue:
        """As a plan writes it."""
        kind = "step" if self.is_commitable else "analysis"
        return {kind: self.text, "structured": True} if self.is_structured else {kind: self.text}


@dataclass(frozen=True, slots=True)
class Variable:
    """What whoever starts a plan may say. `default` None: it is empty where nobody says it, unless it is required."""

    name: str
    default: str | None = None
    description: str | None = None
    is_required: bool = True

    def json(self) -> JsonValue:
        """As a plan writes it, beside its name."""
        said: dict[str, JsonValue] = {"required": self.is_required}
        if self.default is not None:
            said["default"] = self.default
        if self.description is not None:
            said["description"] = self.description
        return said


def shown(key: object) -> str:
    """A key of somebody's as a path can hold it."""
    return str(key)[:SHOWN].encode("ascii", "backslashreplace").decode()


def read_steps(found: object, faults: Faults) -> Iterator[StepSpec]:
    if found is None:
        return
    if not isinstance(found, list):
        faults["steps"] = ["must be a list"]
        return
    for index, entry in enumerate(found):
        if isinstance(entry, str):
            yield StepSpec(entry)
            continue
        said = _faults_of(entry)
        if said or not isinstance(entry, dict):
            faults[f"steps[{index}]"] = said
            continue
        kind = next(kind for kind in STEP_KINDS if kind in entry)
        yield StepSpec(entry[kind], kind == "step", entry.get("structured", False))


def _faults_of(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be text, or a mapping with `step` or `analysis`"]
    said = [f"`{shown(key)}` is not a key of a step; there are analysis, step, structured" for key in _odd(entry)]
    kinds = [kind for kind in STEP_KINDS if kind in entry]
    if len(kinds) != 1:
        said.append("must have one of `step` and `analysis`")
    said += [f"`{kind}` must be text" for kind in kinds if not isinstance(entry[kind], str)]
    if not isinstance(entry.get("structured", False), bool):
        said.append("`structured` must be true or false")
    return sorted(said)


def _odd(entry: Mapping[object, object]) -> list[object]:
    return [key for key in entry if key not in STEP_KEYS][:SHOWN]


def read_variables(found: object, faults: Faults) -> Iterator[Variable]:
    if found is None:
        return
    if not isinstance(found, dict):
        faults["variables"] = ["must be a mapping of names, each with its default or a mapping"]
        return
    if len(found) > MAX_VARIABLES:
        faults["variables"] = [f"must be at most {MAX_VARIABLES}, not {len(found):,}"]
        return
    for name, entry in found.items():
        said = list[str]()
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            said.append(
                f"is not a variable's name: it takes a letter, then at most {MAX_VARIABLE_NAME - 1} letters, digits, "
                "`_` and `-`"
            )
        variable = _variable(str(name), entry, said)
        if said:
            faults[f"variables.{shown(name)}"] = said
        else:
            yield variable


def _variable(name: str, entry: object, said: list[str]) -> Variable:
    if not isinstance(entry, dict):
        default = _text(entry, "", MAX_VARIABLE_VALUE, said)
        return Variable(name, default, is_required=default is None)
    said += [
        f"`{shown(key)}` is not a key of a variable; there are {', '.join(sorted(VARIABLE_KEYS))}"
        for key in entry
        if key not in VARIABLE_KEYS
    ][:SHOWN]
    default = _text(entry.get("default"), "`default` ", MAX_VARIABLE_VALUE, said)
    description = _text(entry.get("description"), "`description` ", MAX_PLAN_DESCRIPTION, said)
    required = entry.get("required", default is None)
    if not isinstance(required, bool):
        said.append("`required` must be true or false")
        return Variable(name)
    if required and default is not None:
        said.append("has a default, and so cannot be required")
    return Variable(name, default, description, required)


def _text(value: object, what: str, most: int, said: list[str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        said.append(f"{what}must be text: put it in quotes")
        return None
    if fault := long_fault(value, most):
        said.append(f"{what}{fault}")
    return value


def long_fault(value: str, most: int) -> str | None:
    return f"must be at most {most:,} characters, not {len(value):,}" if len(value) > most else None

"""Variables in a plan's texts: `${{ name }}`. A value is put in once and never looked through again, so that it makes
no structure and no other variable; what stands in a shell command is held to characters that no shell reads."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from treadle.domain.errors import InvalidInput
from treadle.domain.git_url import parse
from treadle.domain.plan import NOT_VALID, Plan
from treadle.domain.plan_parts import MAX_VARIABLE_VALUE, SHOWN, VARIABLE_NAME, Faults, long_fault, shown
from treadle.domain.validation import ValidationRules

#: Of all texts of a plan together when their variables are put in, in characters.
MAX_FILLED_PLAN = 1_000_000

#: Names before a dot, of what is known without anybody's declaring it.
BUILT_IN: Final = ("repository", "schedule", "trigger")

_DOTTED: Final = rf"(?:{'|'.join(BUILT_IN)})\.[A-Za-z0-9_][A-Za-z0-9_.-]{{0,99}}"
_BUILT_IN: Final = re.compile(_DOTTED)
_PLACE: Final = re.compile(
    rf"(?P<escaped>\$\$\{{\{{)|\$\{{\{{(?:[ \t]{{0,9}}(?P<name>{_DOTTED}|{VARIABLE_NAME})[ \t]{{0,9}}\}}\}})?"
)
_BUILT_IN_PLACE: Final = re.compile(rf"(?P<escaped>\$?)\$\{{\{{[ \t]{{0,9}}(?P<name>{_DOTTED})[ \t]{{0,9}}\}}\}}")

#: What means itself in a shell, bare and in quotes of either kind, and is no option.
_SHELL_SAFE: Final = re.compile(r"[A-Za-z0-9_@%+=:,./][A-Za-z0-9_@%+=:,./-]*")

_MALFORMED: Final = "holds a `${{` that begins no variable: write `${{ name }}`, or `$${{` for the characters"


def is_built_in(name: str) -> bool:
    """Whether it needs no declaration."""
    return _BUILT_IN.fullmatch(name) is not None


def filled(plan: Plan, values: Mapping[str, str]) -> Plan:
    """The plan with its variables put in; `values` holds those of BUILT_IN too. Raises InvalidInput naming every
    variable that is missing, unknown or not to be."""
    faults: Faults = {}
    known = _known(plan, values, faults)
    done = _put_in(plan, known, faults)
    if faults:
        raise InvalidInput(faults, NOT_VALID)
    return done


def stood_in(plan: Plan) -> tuple[Plan, Faults]:
    """The plan as it might be filled, to be checked before anybody gives values, and what is wrong with its variables
    whatever they are."""
    faults: Faults = {}
    known = {each.name: each.default if each.default is not None else "x" for each in plan.variables or ()}
    return _put_in(plan, _Anything(known), faults), faults


def name_in(url: str) -> str:
    """OWNER/NAME as an address has it: `repository.name` of one that is not registered."""
    try:
        path = parse(url).path
    except ValueError:
        path = url  # a path of this machine, or a fault that is found elsewhere
    return "/".join(path.strip("/").removesuffix(".git").split("/")[-2:])


class _Anything(dict[str, str]):
    """Knows every built-in name."""

    def __missing__(self, name: str) -> str:
        if _BUILT_IN.fullmatch(name):
            return "x"
        raise KeyError(name)


def _known(plan: Plan, values: Mapping[str, str], faults: Faults) -> dict[str, str]:
    declared = {each.name: each for each in plan.variables or ()}
    known = {name: each.default or "" for name, each in declared.items() if not each.is_required}
    for name, value in values.items():
        path = f"variables.{shown(name)}"
        if name not in declared and not _BUILT_IN.fullmatch(name):
            if len(faults) < SHOWN:
                there = f"; there are {', '.join(sorted(declared))}" if declared else "; it declares none"
                faults[path] = [f"is not a variable of the plan{there}"]
        elif fault := long_fault(value, MAX_VARIABLE_VALUE):
            faults[path] = [fault]
            known[name] = "x"  # so that its places are not named too
        else:
            known[name] = value
    for name in declared:
        if name not in known:
            faults[f"variables.{name}"] = ["is missing: the plan requires it"]
            known[name] = "x"
    return known


@dataclass(slots=True)
class _Filling:
    """One pass over the texts of a plan."""

    known: Mapping[str, str]
    faults: Faults
    is_strict: bool
    length: int = 0
    too_long: bool = field(default=False)

    def text(self, path: str, text: str, *, is_command: bool = False) -> str:
        if "${{" not in text:
            self._count(path, len(text))
            return text
        parts = list[str]()
        for part in self._parts(path, text, is_command):
            self._count(path, len(part))
            if self.too_long:
                return text
            parts.append(part)
        return "".join(parts)

    def _parts(self, path: str, text: str, is_command: bool) -> Iterator[str]:
        at = 0
        for place in (_PLACE if self.is_strict else _BUILT_IN_PLACE).finditer(text):
            yield text[at : place.start()]
            at = place.end()
            if place["escaped"]:
                yield place[0][1:]
            elif not place["name"]:
                self._say(path, _MALFORMED)
            else:
                yield self._value(path, place["name"], is_command)
        yield text[at:]

    def _value(self, path: str, name: str, is_command: bool) -> str:
        try:
            value = self.known[name]
        except KeyError:
            whence = "is not known to this run" if _BUILT_IN.fullmatch(name) else "is not declared in `variables`"
            self._say(path, f"`{name}` {whence}")
            return ""
        if is_command and not _SHELL_SAFE.fullmatch(value):
            self._say(
                path,
                f"`{name}` stands in a command, and its value must not be empty, begin with `-` or hold anything but "
                "letters, digits and _@%+=:,./-",
            )
        return value

    def _count(self, path: str, length: int) -> None:
        self.length += length
        if self.length > MAX_FILLED_PLAN and not self.too_long:
            self.too_long = True
            self._say(path, f"makes the plan's texts longer than {MAX_FILLED_PLAN:,} characters")

    def _say(self, path: str, said: str) -> None:
        told = self.faults.setdefault(path, [])
        if said not in told and len(told) < SHOWN:
            told.append(said)


def _put_in(plan: Plan, known: Mapping[str, str], faults: Faults) -> Plan:
    filling = _Filling(known, faults, is_strict=plan.variables is not None)
    branch, guidelines, source = (
        filling.text(name, text) if text is not None else None
        for name, text in (("branch", plan.branch), ("guidelines", plan.guidelines), ("source", plan.source))
    )
    steps = tuple(replace(step, text=filling.text(f"steps[{at}]", step.text)) for at, step in enumerate(plan.steps))
    validation = plan.validation
    if validation is not None:
        commands = tuple(filling.text("validate", command, is_command=True) for command in validation.commands)
        validation = ValidationRules(commands, validation.tries)
    return replace(plan, branch=branch, guidelines=guidelines, source=source, steps=steps, validation=validation)

"""Plans as texts of people who are not trusted with this process, read with every fault and the line that it is in."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.domain.errors import InvalidInput
from treadle.domain.plan import NOT_VALID, Plan
from treadle.domain.plan_variables import stood_in
from treadle.services.plan_rules import added, ending, plan_faults
from treadle.services.plans import parse_pasted_plan

if TYPE_CHECKING:
    import yaml

_AT_LINE = re.compile(
    r"Is not valid YAML at line ([0-9]+)|Must not hold aliases, as at line ([0-9]+)"
    r"|is there more than once, at lines [0-9, ]*\b([0-9]+)$"
)


@dataclass(frozen=True, slots=True)
class PlanFault:
    """`path`: the plan's key, such as `steps[0]`, or `plan` for all of it. `line` from 1; None where there is none."""

    path: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class PlanReading:
    """A plan, or what is wrong with it: `plan` is there too where it can be read and no run can be made of it."""

    plan: Plan | None
    faults: Sequence[PlanFault] = ()

    def checked(self) -> Plan:
        """The plan. Raises InvalidInput naming every fault."""
        if self.plan is None or self.faults:
            raise InvalidInput(by_path(self.faults), NOT_VALID)
        return self.plan


def read_plan_text(text: str, *, allow_local: bool) -> PlanReading:
    """Held to the rules of runs, its variables stood in for."""
    try:
        plan = parse_pasted_plan(text)
    except InvalidInput as error:
        return PlanReading(None, _placed(text, error.faults))
    return PlanReading(plan, _placed(text, rule_faults(plan, allow_local=allow_local)))


def read_plan_object(value: object, *, allow_local: bool) -> PlanReading:
    """The same of JSON."""
    try:
        plan = Plan.from_json(value)
    except InvalidInput as error:
        return PlanReading(None, _placed(None, error.faults))
    return PlanReading(plan, _placed(None, rule_faults(plan, allow_local=allow_local)))


def rule_faults(plan: Plan, *, allow_local: bool) -> Mapping[str, Sequence[str]]:
    """What is wrong with a plan whatever the values of its variables and wherever it is started."""
    done, faults = stood_in(plan)
    return added(faults, plan_faults(done, allow_local=allow_local))


def by_path(faults: Sequence[PlanFault]) -> dict[str, list[str]]:
    """As InvalidInput takes them."""
    found: dict[str, list[str]] = {}
    for fault in faults:
        where = f" (line {fault.line})" if fault.line is not None and "at line" not in fault.message else ""
        found.setdefault(fault.path, []).append(f"{fault.message}{where}")
    return found


def _placed(text: str | None, faults: Mapping[str, Sequence[str]]) -> tuple[PlanFault, ...]:
    if not faults:
        return ()
    root = _compose(text) if text is not None and "plan" not in faults else None
    found = [
        PlanFault(path, ending(said), _line_said(said) or _line(root, path))
        for path, each in faults.items()
        for said in each
    ]
    return tuple(sorted(found, key=lambda fault: (fault.line or 0, fault.path)))


def _line_said(message: str) -> int | None:
    """Of a text that is no YAML, and of a key that is there again."""
    found = _AT_LINE.match(message)
    return int(found[1] or found[2] or found[3]) if found else None


def _compose(text: str) -> "yaml.Node | None":
    """Of a text that was parsed already."""
    import yaml  # noqa: PLC0415 - not at import: only those who give a plan pay for it

    return yaml.compose(text, Loader=yaml.SafeLoader)


def _line(node: "yaml.Node | None", path: str) -> int | None:
    """Where the path is, or the innermost part of it that is there."""
    import yaml  # noqa: PLC0415 - as above

    if node is None:
        return None
    line: int = node.start_mark.line
    for part in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if str(key.value) == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line
        else:
            break
    return line + 1

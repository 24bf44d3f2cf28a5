"""Plans: what a run shall do, as YAML that somebody wrote by hand. Pure; `services/plans.py` reads the YAML.

repo: https://git.example/acme/shop.git
branch: feature/tests
steps:
  - Add a word counter
  - {analysis: Review it, structured: true}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from treadle.domain.errors import InvalidInput

_PLAN_KEYS: Final = frozenset({"repo", "source", "branch", "engine", "guidelines", "steps"})
_KIND_KEYS: Final = ("step", "analysis")
_STEP_KEYS: Final = frozenset({*_KIND_KEYS, "structured"})


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step as asked for."""

    text: str
    is_commitable: bool = True
    is_structured: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan file says; None where it says nothing."""

    repo: str | None = None
    source: str | None = None
    branch: str | None = None
    engine: str | None = None
    guidelines: str | None = None
    steps: tuple[StepSpec, ...] = ()


def read_plan(found: object) -> Plan:
    """The plan in parsed YAML. Raises InvalidInput naming every fault."""
    faults: dict[str, list[str]] = {}
    if not isinstance(found, dict):
        raise InvalidInput({"plan": ["must be a mapping with the key `steps`"]}, "The plan is not valid.")
    for key in found:
        if key not in _PLAN_KEYS:
            faults[str(key)] = [f"is not a key of a plan; there are {', '.join(sorted(_PLAN_KEYS))}"]
    texts: dict[str, str | None] = {}
    for key in sorted(_PLAN_KEYS - {"steps"}):
        value = found.get(key)
        if value is None or isinstance(value, str):
            texts[key] = value
        else:
            faults[key] = ["must be text"]
    steps = tuple(_read_steps(found.get("steps"), faults))
    if faults:
        raise InvalidInput(faults, "The plan is not valid.")
    return Plan(**texts, steps=steps)


def _read_steps(found: object, faults: dict[str, list[str]]) -> Iterator[StepSpec]:
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
        kind = next(kind for kind in _KIND_KEYS if kind in entry)
        yield StepSpec(entry[kind], kind == "step", entry.get("structured", False))


def _faults_of(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be text, or a mapping with `step` or `analysis`"]
    said = [f"`{key}` is not a key of a step; there are analysis, step, structured" for key in set(entry) - _STEP_KEYS]
    kinds = [kind for kind in _KIND_KEYS if kind in entry]
    if len(kinds) != 1:
        said.append("must have one of `step` and `analysis`")
    said += [f"`{kind}` must be text" for kind in kinds if not isinstance(entry[kind], str)]
    if not isinstance(entry.get("structured", False), bool):
        said.append("`structured` must be true or false")
    return sorted(said)

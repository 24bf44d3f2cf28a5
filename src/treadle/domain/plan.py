"""Plans: what a run shall do, as YAML that somebody wrote by hand. Pure; `services/plans.py` reads the YAML.

name: Count words
repo: https://git.example/acme/shop.git
branch: feature/${{ what }}
variables:
  what: {description: What to count, default: words}
maxCostUsd: 2.5
network: {allow: [pkg.test]}
validate: [make test]
steps:
  - Add a counter of ${{ what }}
  - {analysis: Review it, structured: true}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.network import NetworkPolicy
from treadle.domain.plan_parts import (
    MAX_PLAN_DESCRIPTION,
    SHOWN,
    Faults,
    StepSpec,
    Variable,
    long_fault,
    read_steps,
    read_variables,
    shown,
)
from treadle.domain.validation import ValidationRules

__all__ = ["NOT_VALID", "PLAN_KEYS", "Plan", "StepSpec", "Variable", "read_plan"]

#: Of a plan's name, in characters.
MAX_PLAN_NAME = 200

_TEXT_KEYS: Final = ("branch", "description", "engine", "guidelines", "model", "name", "repo", "source")
_FLAGS: Final = {"diff": "wants_diff", "pullRequest": "opens_pull_request"}
PLAN_KEYS: Final = frozenset(
    {*_TEXT_KEYS, *_FLAGS, "maxCostUsd", "network", "steps", "validate", "variables"},
)
_LONGEST: Final = {"name": MAX_PLAN_NAME, "description": MAX_PLAN_DESCRIPTION}

#: Far above any budget, and a number that every reader of JSON takes.
_NO_COST: Final = 1e15

NOT_VALID: Final = "The plan is not valid."


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan file says; None where it says nothing. `variables` None: it declares none, and what looks like one is
    text, except for the built-in ones."""

    repo: str | None = None
    source: str | None = None
    branch: str | None = None
    engine: str | None = None
    guidelines: str | None = None
    steps: tuple[StepSpec, ...] = ()
    max_cost_usd: float | None = None
    network: NetworkPolicy | None = None
    name: str | None = None
    description: str | None = None
    model: str | None = None
    variables: tuple[Variable, ...] | None = None
    validation: ValidationRules | None = None
    opens_pull_request: bool | None = None
    wants_diff: bool | None = None

    def to_json(self) -> JsonObject:
        """What `from_json` takes: to be stored, or sent."""
        said: dict[str, JsonValue] = {
            **{key: getattr(self, key) for key in _TEXT_KEYS},
            **{key: getattr(self, field) for key, field in _FLAGS.items()},
            "maxCostUsd": self.max_cost_usd,
            "network": self.network.json() if self.network is not None else None,
            "validate": self.validation.json() if self.validation is not None else None,
            "steps": [step.json() for step in self.steps] or None,
        }
        if self.variables is not None:
            said["variables"] = {variable.name: variable.json() for variable in self.variables}
        return {key: said[key] for key in sorted(said) if said[key] is not None}

    @classmethod
    def from_json(cls, value: object) -> "Plan":
        """Raises InvalidInput naming every fault."""
        return read_plan(value)


def read_plan(found: object) -> Plan:
    """The plan in parsed YAML or JSON. Raises InvalidInput naming every fault."""
    faults: Faults = {}
    if not isinstance(found, dict):
        raise InvalidInput({"plan": ["must be a mapping with the key `steps`"]}, NOT_VALID)
    for key in [key for key in found if key not in PLAN_KEYS][:SHOWN]:
        faults[shown(key)] = [f"is not a key of a plan; there are {', '.join(sorted(PLAN_KEYS))}"]
    texts = {key: _read_text(key, found.get(key), faults) for key in _TEXT_KEYS}
    flags = {field: _read_flag(key, found.get(key), faults) for key, field in _FLAGS.items()}
    variables = tuple(read_variables(found.get("variables"), faults))
    plan = Plan(
        **texts,
        steps=tuple(read_steps(found.get("steps"), faults)),
        max_cost_usd=_read_cost(found, faults),
        network=_read_network(found, faults),
        variables=variables if found.get("variables") is not None else None,
        validation=_read_validation(found, faults),
        opens_pull_request=flags["opens_pull_request"],
        wants_diff=flags["wants_diff"],
    )
    if faults:
        raise InvalidInput(faults, NOT_VALID)
    return plan


def _read_text(key: str, value: object, faults: Faults) -> str | None:
    if value is not None and not isinstance(value, str):
        faults[key] = ["must be text"]
        return None
    if value is not None and key in _LONGEST and (fault := long_fault(value, _LONGEST[key])):
        faults[key] = [fault]
    return value


def _read_flag(key: str, value: object, faults: Faults) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    faults[key] = ["must be true or false"]
    return None


def _read_cost(found: Mapping[object, object], faults: Faults) -> float | None:
    value = found.get("maxCostUsd")
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _NO_COST):
        return value
    faults["maxCostUsd"] = ["must be a number"]
    return None


def _read_network(found: Mapping[object, object], faults: Faults) -> NetworkPolicy | None:
    value = found.get("network")
    if value is None:
        return None
    try:
        return NetworkPolicy.parse(value) if isinstance(value, str) else NetworkPolicy.read(value)
    except ValueError as error:
        faults["network"] = [str(error)]
        return None


def _read_validation(found: Mapping[object, object], faults: Faults) -> ValidationRules | None:
    value = found.get("validate")
    if value is None:
        return None
    try:
        return ValidationRules.read(value)
    except ValueError as error:
        faults["validate"] = [str(error)]
        return None

"""The published JSON Schema of plans, made of the same limits that the reader holds them to. What one key cannot say of
itself (unknown variables, a branch that Git would refuse) only the reader finds."""

import json
import re

from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.network import MAX_HOSTS
from treadle.domain.plan import MAX_PLAN_NAME, PLAN_KEYS
from treadle.domain.plan_parts import (
    MAX_PLAN_DESCRIPTION,
    MAX_VARIABLE_VALUE,
    MAX_VARIABLES,
    VARIABLE_NAME,
)
from treadle.domain.run import EngineName
from treadle.domain.validation import MAX_COMMAND, MAX_COMMANDS, MAX_TRIES
from treadle.services.agents import MAX_MODEL_NAME
from treadle.services.run_rules import COST_DECIMALS, MAX_BRANCH, MAX_COST_USD, MAX_GUIDELINES, MAX_STEPS, MAX_URL

#: Where a service serves it.
SCHEMA_PATH = "/schemas/plan.json"

_NOT_BLANK = r"\S"


def schema_json() -> str:
    """As it is served, printed and kept in the documentation."""
    return json.dumps(plan_schema(), indent=2, ensure_ascii=False) + "\n"


def plan_schema() -> JsonObject:
    properties = _properties()
    if properties.keys() != PLAN_KEYS:
        raise AssertionError("The schema and the reader know other keys.")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan of Treadle",
        "description": "What a run shall do. The texts of `steps`, `guidelines`, `branch`, `source` and `validate` may "
        "hold variables: ${{ name }}.",
        "type": "object",
        "required": ["steps"],
        "additionalProperties": False,
        "properties": {key: properties[key] for key in sorted(properties)},
    }


def _properties() -> dict[str, JsonValue]:
    return {
        "name": _text("What the plan is called.", 0, MAX_PLAN_NAME),
        "description": _text("What it is for.", 0, MAX_PLAN_DESCRIPTION),
        "repo": _text("The repository's address, where whoever starts the plan names none.", 1, MAX_URL),
        "source": _text(
            "The branch that the work starts from. Left out: the repository's default, or main.", 1, MAX_BRANCH
        ),
        "branch": _text("The work branch. Left out: one that is named after the run.", 1, MAX_BRANCH),
        "engine": {
            **_said("The AI coding CLI. Left out: the organization's."),
            "type": ["string", "null"],
            "pattern": f"^({'|'.join(map(_any_case, EngineName))})$",
        },
        "model": {
            **_said("The engine's model."),
            "type": ["string", "null"],
            "maxLength": MAX_MODEL_NAME,
            "pattern": r"^([A-Za-z0-9][A-Za-z0-9_.:/@\[\]-]*)?$",
        },
        "guidelines": _text("Rules for all that is written, before the first step.", 1, MAX_GUIDELINES),
        "steps": {
            **_said("What to do, in order. A text is a step that ends in a commit."),
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_STEPS,
            "items": {"anyOf": [_step_text(), _step("step"), _step("analysis")]},
        },
        "variables": _variables(),
        "validate": _validation(),
        "maxCostUsd": {
            **_said("US dollars that the model may cost; past them the run fails, its work kept."),
            "type": ["number", "null"],
            "minimum": 1 / 10**COST_DECIMALS,
            "maximum": MAX_COST_USD,
        },
        "network": _network(),
        "pullRequest": {
            **_said("Whether a pull request is opened at the run's end, where that is set up."),
            "type": ["boolean", "null"],
        },
        "diff": {**_said("Whether the finished run carries its diff."), "type": ["boolean", "null"]},
    }


def _said(description: str) -> dict[str, JsonValue]:
    return {"description": description}


def _text(description: str, least: int, most: int) -> JsonValue:
    return {**_said(description), "type": ["string", "null"], "minLength": least, "maxLength": most}


def _step_text() -> JsonValue:
    return {"type": "string", "pattern": _NOT_BLANK}


def _step(kind: str) -> JsonValue:
    said = "Ends in a commit." if kind == "step" else "Only reads and answers."
    return {
        "type": "object",
        "required": [kind],
        "additionalProperties": False,
        "properties": {
            kind: {**_said(said), "type": "string", "pattern": _NOT_BLANK},
            "structured": {**_said("Whether a structured answer is asked for."), "type": "boolean"},
        },
    }


def _variables() -> JsonValue:
    default: JsonValue = {"type": ["string", "null"], "maxLength": MAX_VARIABLE_VALUE}
    whole: JsonValue = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "default": default,
            "description": {"type": ["string", "null"], "maxLength": MAX_PLAN_DESCRIPTION},
            "required": {**_said("Left out: whether there is no default."), "type": "boolean"},
        },
        "not": {
            "required": ["required", "default"],
            "properties": {"required": {"const": True}, "default": {"type": "string"}},
        },
    }
    return {
        **_said("What whoever starts the plan may say: names, each with its default or more."),
        "type": ["object", "null"],
        "maxProperties": MAX_VARIABLES,
        "propertyNames": {"pattern": f"^{VARIABLE_NAME}$"},
        "additionalProperties": {"anyOf": [default, whole]},
    }


def _validation() -> JsonValue:
    commands: JsonValue = {
        "type": "array",
        "maxItems": MAX_COMMANDS,
        "items": {"type": "string", "pattern": _NOT_BLANK, "maxLength": MAX_COMMAND},
    }
    return {
        **_said("Shell commands that must pass before a step is committed."),
        "anyOf": [
            {"type": "null"},
            commands,
            {
                "type": "object",
                "required": ["commands"],
                "additionalProperties": False,
                "properties": {
                    "commands": commands,
                    "tries": {
                        **_said("How often the engine may mend what fails."),
                        "type": "integer",
                        "minimum": 0,
                        "maximum": MAX_TRIES,
                    },
                },
            },
        ],
    }


def _network() -> JsonValue:
    return {
        **_said("What the run's commands may connect to."),
        "anyOf": [
            {"type": "null"},
            {"type": "string", "pattern": r'^\s*(none|model|full|allow:[\s\S]*|[{"][\s\S]*)\s*$'},
            {
                "type": "object",
                "required": ["allow"],
                "additionalProperties": False,
                "properties": {
                    "allow": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_HOSTS}
                },
            },
        ],
    }


def _any_case(name: str) -> str:
    return re.sub("[A-Za-z]", lambda letter: f"[{letter[0].upper()}{letter[0].lower()}]", name)

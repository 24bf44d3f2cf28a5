"""A stored script that a schedule starts, as the form asks for it."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.datastructures import FormData

from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.web.forms import lines_of, number_of, text_of
from treadle.web.pages.automation.plan_fields import Faults
from treadle.web.pages.automation.scripts import inputs_of

FIELDS: Final = ("name", "cron", "time_zone", "missed", "overlap", "script", "version", "inputs")


def target_of(form: FormData) -> JsonObject:
    """As `POST /schedules` has it. Raises InvalidInput by the form's fields."""
    faults: Faults = {}
    found: dict[str, JsonValue] = {}
    if name := text_of(form, "script"):
        found["script"] = name
    else:
        faults["script"] = ["Choose the script."]
    if version := text_of(form, "version"):
        found["version"] = number_of(version)
        if not found["version"]:
            faults["version"] = ["Must be the number of a version."]
    try:
        if inputs := inputs_of(lines_of(form, "inputs")):
            found["inputs"] = inputs
    except InvalidInput as error:
        faults["inputs"] = list(error.faults["inputs"])
    if faults:
        raise InvalidInput(faults)
    return found


def values_of(target: JsonObject, names: Mapping[int, str]) -> Mapping[str, str]:
    """As the form shows it. `names`: of the scripts that one sees, by their ids."""
    which, version, inputs = target.get("script"), target.get("version"), target.get("inputs")
    return {
        "script": names.get(which, str(which)) if isinstance(which, int) else str(which),
        "version": "" if version is None else str(version),
        "inputs": json.dumps(inputs, indent=2, ensure_ascii=False) if inputs else "",
    }


def beside(faults: Mapping[str, Sequence[str]]) -> Faults:
    """What the service says, by the form's fields: it names each input."""
    found: Faults = {}
    for path, said in faults.items():
        field, _, inside = path.partition(".")
        found.setdefault(field, []).extend(f"{inside}: {each}" if inside else each for each in said)
    return found


def choices(names: Sequence[str], chosen: str) -> Sequence[tuple[str, str]]:
    """For a menu; what is chosen is there, too, where it is nobody's to see."""
    others = [chosen] if chosen and chosen not in names else []
    return [("", "Choose…"), *((name, name) for name in [*names, *others])]

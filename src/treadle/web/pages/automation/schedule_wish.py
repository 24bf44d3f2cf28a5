"""A schedule as the form asks for it, and as it is shown there again."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from starlette.datastructures import FormData

from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.schedule import Missed, Overlap, Schedule
from treadle.services.schedules import ScheduleRequest
from treadle.web.forms import amount_of, amount_text, is_checked, lines_of, number_of, text_of
from treadle.web.pages.automation import schedule_batch, schedule_script
from treadle.web.pages.automation.plan_fields import Faults, plan_text, read_plan, variables_of, variables_text
from treadle.web.site import Site

FIELDS: Final = (
    "name", "cron", "time_zone", "missed", "overlap", "plan", "plan_name", "repository", "url", "source", "work",
    "variables", "max_cost",
)  # fmt: skip

#: What a schedule may start, in words.
KINDS: Final = {
    "plan": ("A plan", "a run on one repository"),
    "batch": ("A batch", "a plan on many repositories"),
    "script": ("A script", "one that is kept here"),
}

#: What the service calls them.
_THEIRS: Final = {
    "timeZone": "time_zone", "plan.url": "url", "plan.branch_source": "source", "plan.branch_work": "work",
    "plan.repositoryId": "repository", "plan.branchSource": "source", "plan.branchWork": "work",
    "plan.maxCostUsd": "max_cost", "target": "plan",
}  # fmt: skip

_TARGET: Final = {"source": "branchSource", "work": "branchWork", "url": "url"}

_NOT_VALID: Final = "The schedule is not valid."

E = TypeVar("E", bound=StrEnum)


async def request_of(site: Site, form: FormData, known: Schedule | None) -> ScheduleRequest:
    """What of `known` cannot be shown stays as it is. Raises InvalidInput by the form's fields, NotFound."""
    kind = kind_of(form, known)
    is_shown = known is None or values_of(known, {}) is not None
    try:
        target = await _target(site, form, kind, known) if is_shown else None
    except InvalidInput as error:
        raise _sorted(error.faults, kind, _NOT_VALID) from None
    return ScheduleRequest(
        name=text_of(form, "name"),
        cron=text_of(form, "cron"),
        time_zone=text_of(form, "time_zone") or "UTC",
        missed=_one_of(Missed, text_of(form, "missed")),
        overlap=_one_of(Overlap, text_of(form, "overlap")),
        kind=kind if target is not None else None,
        target=target,
    )


def kind_of(form: FormData, known: Schedule | None) -> str:
    """That of a schedule stays."""
    found = str(known.target.get("kind")) if known is not None else text_of(form, "kind")
    return found if found in KINDS else "plan"


async def _target(site: Site, form: FormData, kind: str, known: Schedule | None) -> JsonObject:
    """Raises InvalidInput by the form's fields."""
    if kind == "batch":
        return await schedule_batch.target_of(site, form, known.target if known is not None else None)
    if kind == "script":
        return schedule_script.target_of(form)
    faults: Faults = {}
    found = await _run(site, form, faults)
    if faults:
        raise InvalidInput(faults)
    return found


async def _plan(site: Site, form: FormData, faults: Faults) -> dict[str, JsonValue]:
    """Written, or named."""
    plan, name = lines_of(form, "plan"), text_of(form, "plan_name")
    if plan.strip() and name:
        faults["plan_name"] = ["Write a plan above or name one here, not both."]
    elif plan.strip():
        try:
            return {"plan": (await read_plan(site, plan)).to_json()}
        except InvalidInput as error:
            faults["plan"] = list(error.faults["plan"])
    elif name:
        return {"repositoryPlan": name}
    else:
        faults["plan"] = ["Is required, or the name of a repository's own plan."]
    return {}


async def _run(site: Site, form: FormData, faults: Faults) -> JsonObject:
    found = await _plan(site, form, faults)
    repository = number_of(text_of(form, "repository"))
    if repository is not None:
        found["repositoryId"] = repository
    elif "repositoryPlan" in found:
        faults["repository"] = ["Choose the repository that holds the plan."]
    found |= {theirs: text for ours, theirs in _TARGET.items() if (text := text_of(form, ours))}
    if repository is not None and "url" in found:
        faults["url"] = ["Choose a repository or give an address, not both."]
    variables, said = variables_of(lines_of(form, "variables"))
    if said:
        faults["variables"] = list(said)
    elif variables:
        found["variables"] = dict(variables)
    try:
        if (cost := amount_of(text_of(form, "max_cost"))) is not None:
            found["maxCostUsd"] = cost
    except ValueError as error:
        faults["max_cost"] = [str(error)]
    if is_checked(form, "pull_request"):
        found["pullRequest"] = True
    return found


def beside(error: InvalidInput, form: FormData, kind: str) -> InvalidInput:
    """What the service says, by the form's fields."""
    found: Faults = {}
    others: dict[str, Sequence[str]] = {}
    for path, said in error.faults.items():
        field = _THEIRS.get(path, path)
        if kind != "plan" and path.startswith(f"{kind}."):
            others[path.removeprefix(f"{kind}.")] = said
        elif field.startswith("plan.variables"):
            name = path.removeprefix("plan.variables.")
            found.setdefault("variables", []).extend(f"{name}: {each}" for each in said)
        elif field.startswith("plan."):
            found.setdefault("plan", []).extend(f"{field.removeprefix('plan.')}: {each}" for each in said)
        else:
            found.setdefault(field, []).extend(said)
    theirs = schedule_batch.beside(form, others) if kind == "batch" else schedule_script.beside(others)
    for field, each in theirs.items():
        found.setdefault(field, []).extend(each)
    return _sorted(found, kind, error.message)


def values_of(schedule: Schedule, scripts: Mapping[int, str]) -> Mapping[str, str] | None:
    """As the form shows it; None for what it cannot say. `scripts`: names of those that one sees, by their ids."""
    target = schedule.target
    match target.get("kind"):
        case "plan":
            found: Mapping[str, str] | None = _values_of_run(target)
        case "batch":
            found = schedule_batch.values_of(target)
        case "script":
            found = schedule_script.values_of(target, scripts)
        case _:
            found = None
    return None if found is None else {**times_of(schedule), **found}


def times_of(schedule: Schedule) -> Mapping[str, str]:
    """What the form shows of any."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "missed": schedule.missed,
        "overlap": schedule.overlap,
    }


def _values_of_run(target: JsonObject) -> Mapping[str, str] | None:
    cost, variables = target.get("maxCostUsd"), target.get("variables")
    shown = variables_text(variables) if isinstance(variables, dict) else ""
    if variables_of(shown)[0] != (variables or {}):  # a value of several lines, say
        return None
    return {
        "plan": plan_text(target["plan"]) if target.get("plan") is not None else "",
        "plan_name": _text(target.get("repositoryPlan")),
        "repository": _text(target.get("repositoryId")),
        **{ours: _text(target.get(theirs)) for ours, theirs in _TARGET.items()},
        "variables": shown,
        "max_cost": amount_text(cost) if isinstance(cost, int | float) else "",
        "pull_request": "1" if target.get("pullRequest") is True else "",
    }


def _one_of(kind: type[E], text: str) -> E | None:
    return next((each for each in kind if each == text), None)


def _text(value: JsonValue) -> str:
    return "" if value is None else str(value)


def _sorted(faults: Mapping[str, Sequence[str]], kind: str, message: str) -> InvalidInput:
    """In the order of the form's fields."""
    fields = {"batch": schedule_batch.FIELDS, "script": schedule_script.FIELDS}.get(kind, FIELDS)
    place = {name: at for at, name in enumerate(fields)}
    return InvalidInput({name: faults[name] for name in sorted(faults, key=lambda each: place.get(each, 99))}, message)

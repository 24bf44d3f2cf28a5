"""A batch that a schedule starts, as the form asks for it."""

import shlex
from collections.abc import Mapping, Sequence

from starlette.datastructures import FormData

from treadle.domain.batch import DEFAULT_BATCH_CONCURRENCY
from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.services.batch_targets import RepositoryFilter, Target
from treadle.web.forms import amount_text, lines_of, number_of, text_of
from treadle.web.pages.automation.batch_wish import others_of, wish_of
from treadle.web.pages.automation.plan_fields import plan_text, read_plan, variables_of, variables_text
from treadle.web.site import Site

FIELDS = (
    "name", "cron", "time_zone", "missed", "overlap", "plan", "variables", "pattern", "language", "urls",
    "concurrency", "stop_after", "max_cost",
)  # fmt: skip


async def target_of(site: Site, form: FormData, known: JsonObject | None) -> JsonObject:
    """As `POST /batches` has it. Raises InvalidInput by the form's fields."""
    if not lines_of(form, "plan").strip():
        raise InvalidInput({"plan": ["Is required."]})
    wish = wish_of(form)
    plan = await read_plan(site, wish.plan)
    found: dict[str, JsonValue] = {
        "plan": plan.to_json(),
        "name": known.get("name") if known is not None else text_of(form, "name"),
        "targets": [_target(each) for each in wish.others] or None,
        "filter": _filter(wish.chosen),
        "variables": dict(wish.variables) or None,
        "concurrency": wish.concurrency,
        "stopAfterFailures": wish.stop_after,
        "maxCostUsd": wish.max_cost,
    }
    return {name: value for name, value in found.items() if value is not None}


def beside(form: FormData, faults: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """What the service says of it, by the form's fields; those of targets by the line that each is in."""
    found = dict[str, list[str]]()
    for field, said in wish_of(form).beside(InvalidInput(faults)).faults.items():
        found.setdefault("urls" if field == "repositories" else field, []).extend(said)
    return found


def values_of(target: JsonObject) -> Mapping[str, str] | None:
    """As the form shows it; None for what its lines cannot say."""
    targets, chosen, variables = target.get("targets"), target.get("filter"), target.get("variables")
    wholes = [_whole(each) for each in targets] if isinstance(targets, list) else []
    urls = "\n".join(map(_line, wholes))
    shown = variables_text(variables) if isinstance(variables, dict) else ""
    said = [_target(each) for each in others_of(urls, {})[0]]
    if said != wholes or variables_of(shown)[0] != (variables or {}):
        return None
    narrowed = chosen if isinstance(chosen, dict) else {}
    cost, concurrency = target.get("maxCostUsd"), target.get("concurrency")
    return {
        "plan": plan_text(target["plan"]),
        "variables": shown,
        "urls": urls,
        "pattern": _text(narrowed.get("name")),
        "language": _text(narrowed.get("language")),
        "all": "1" if isinstance(chosen, dict) and not {"name", "language"} & chosen.keys() else "",
        "concurrency": _text(concurrency or DEFAULT_BATCH_CONCURRENCY),
        "stop_after": _text(target.get("stopAfterFailures")),
        "max_cost": amount_text(cost) if isinstance(cost, int | float) else "",
    }


def _target(target: Target) -> JsonObject:
    which = target.repository
    found: dict[str, JsonValue] = (
        {"repository": number_of(which) or which} if isinstance(which, str) else {"url": target.url}
    )
    return {**found, "variables": dict(target.variables)} if target.variables else found


def _whole(target: JsonValue) -> JsonObject:
    """What `POST /batches` takes in short, spelled out."""
    if isinstance(target, str):
        return {"url" if ":" in target or target.startswith("/") else "repository": target}
    if not isinstance(target, dict):
        return {"repository": target}
    return {name: value for name, value in target.items() if value}


def _line(target: JsonObject) -> str:
    variables = target.get("variables")
    named = variables if isinstance(variables, dict) else {}
    which = _text(target.get("repository") or target.get("url"))
    return shlex.join([which, *(f"{name}={value}" for name, value in named.items())])


def _filter(chosen: RepositoryFilter | None) -> JsonObject | None:
    if chosen is None:
        return None
    texts = {"name": chosen.name, "language": chosen.language}
    return {name: text for name, text in texts.items() if text is not None} or {"all": True}


def _text(value: JsonValue) -> str:
    return "" if value is None else str(value)

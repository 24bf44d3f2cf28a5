"""What the endpoints of batches take, read with every fault at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from treadle.api.native.reading import read_fields
from treadle.domain.batch import DEFAULT_BATCH_CONCURRENCY, MAX_BATCH_ITEMS
from treadle.domain.errors import InvalidInput
from treadle.services.batch_targets import Reach, RepositoryFilter, Target
from treadle.services.run_rules import text_fault

_FIELDS = ("name", "plan", "variables", "targets", "filter", "concurrency", "stopAfterFailures", "maxCostUsd")
_TARGET = frozenset({"repository", "url", "variables"})
_FILTER = frozenset({"all", "name", "language"})
#: Characters of a name that nobody knows.
_SHOWN = 100
#: The largest id of a repository.
_LAST_ID = 2**31 - 1

Faults = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class BatchBody:
    """`plan`: YAML, or an object. `sent`: as it came."""

    plan: object
    reach: Reach
    variables: Mapping[str, str]
    name: str | None
    concurrency: int
    stop_after_failures: int | None
    max_cost_usd: float | None
    sent: Mapping[str, object] = field(repr=False)


def read_batch(body: bytes) -> BatchBody:
    """Raises InvalidInput naming every fault, of a target by `targets[n]`."""
    sent = read_fields(body, _FIELDS)
    faults: Faults = {}
    plan, name = sent.get("plan"), sent.get("name")
    if not isinstance(plan, str | dict):
        faults["plan"] = ["Is required: YAML as text, or an object."]
    if name is not None and not isinstance(name, str):
        faults["name"] = ["Must be text."]
    targets, chosen = _targets(sent.get("targets"), faults), _filter(sent.get("filter"), faults)
    if not targets and chosen is None and not faults.keys() & {"targets", "filter"}:
        faults["targets"] = ["Give targets, or a filter."]
    found = BatchBody(
        plan=plan,
        reach=Reach(targets, chosen),
        variables=_variables(sent.get("variables"), "variables", faults),
        name=name if isinstance(name, str) else None,
        concurrency=_whole(sent, "concurrency", faults) or DEFAULT_BATCH_CONCURRENCY,
        stop_after_failures=_whole(sent, "stopAfterFailures", faults),
        max_cost_usd=_cost(sent.get("maxCostUsd"), faults),
        sent=sent,
    )
    if faults:
        raise InvalidInput(faults)
    return found


def read_concurrency(body: bytes) -> int:
    """Raises InvalidInput."""
    sent = read_fields(body, ["concurrency"])
    faults: Faults = {}
    found = _whole(sent, "concurrency", faults)
    if found is None:
        faults.setdefault("concurrency", ["Is required."])
    if faults or found is None:
        raise InvalidInput(faults)
    return found


def _targets(value: object, faults: Faults) -> tuple[Target, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        faults["targets"] = ["Must be a list."]
        return ()
    if len(value) > MAX_BATCH_ITEMS:
        faults["targets"] = [f"Are {len(value):,} repositories; a batch has at most {MAX_BATCH_ITEMS:,}."]
        return ()
    return tuple(_target(each, f"targets[{at}]", faults) for at, each in enumerate(value))


def _target(value: object, where: str, faults: Faults) -> Target:
    """An object; or a number, a name or an address alone."""
    if isinstance(value, str):
        value = {"url" if "://" in value or ":" in value or value.startswith("/") else "repository": value}
    elif isinstance(value, int) and not isinstance(value, bool):
        value = {"repository": value}
    if not isinstance(value, dict):
        faults[where] = ["Must be an object with repository or url; or one of these alone."]
        return Target()
    for name in value:
        if name not in _TARGET:
            known = ", ".join(sorted(_TARGET))
            faults[f"{where}.{ascii(name)[1:-1][:_SHOWN]}"] = [f"Is not a known field; there are {known}."]
    repository, url = value.get("repository"), value.get("url")
    if not (repository is None or _is_id(repository) or (isinstance(repository, str) and repository)):
        faults[f"{where}.repository"] = ["Must be the id or the name of a repository."]
        repository = None
    if url is not None and not isinstance(url, str):
        faults[f"{where}.url"] = ["Must be text."]
        url = None
    variables = _variables(value.get("variables"), f"{where}.variables", faults)
    return Target(repository if isinstance(repository, int | str) else None, url, variables)


def _filter(value: object, faults: Faults) -> RepositoryFilter | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        faults["filter"] = ["Must be an object."]
        return None
    for name in value:
        if name not in _FILTER:
            known = ", ".join(sorted(_FILTER))
            faults[f"filter.{ascii(name)[1:-1][:_SHOWN]}"] = [f"Is not a known field; there are {known}."]
    texts = dict[str, str]()
    for key in ("name", "language"):
        given = value.get(key)
        if isinstance(given, str) and given and not text_fault(given):
            texts[key] = given
        elif given is not None:
            faults[f"filter.{key}"] = ["Must be text."]
    takes_all = value.get("all")
    if takes_all is not None and takes_all is not True:
        faults["filter.all"] = ["Must be true, or left out."]
    if not value:
        faults["filter"] = ['Give name or language, or `{"all": true}`.']
    return RepositoryFilter(texts.get("name"), texts.get("language"))


def _variables(value: object, where: str, faults: Faults) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults[where] = ["Must be an object: texts by the variables' names."]
        return {}
    found = dict[str, str]()
    for name, text in value.items():
        if not isinstance(text, str):
            faults[f"{where}.{ascii(name)[1:-1][:_SHOWN]}"] = ["Must be text."]
        elif said := text_fault(text) or ("Is built in, and not to be given." if "." in name else None):
            faults[f"{where}.{ascii(name)[1:-1][:_SHOWN]}"] = [said]
        else:
            found[name] = text
    return found


def _whole(sent: Mapping[str, object], name: str, faults: Faults) -> int | None:
    value = sent.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        faults[name] = ["Must be a whole number, from 1."]
        return None
    return value


def _cost(value: object, faults: Faults) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        faults["maxCostUsd"] = ["Must be a number."]
        return None
    return value


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LAST_ID

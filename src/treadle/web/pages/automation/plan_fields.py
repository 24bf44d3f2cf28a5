"""What forms that start plans share: the plan as text or by its name in a repository, and values for its variables."""

from collections.abc import Mapping, Sequence
from typing import Final

from anyio import to_thread

from treadle.domain.errors import Conflict, InvalidInput, NotFound
from treadle.domain.events import JsonValue
from treadle.domain.identity import Principal
from treadle.domain.plan import Plan
from treadle.domain.repository import Repository
from treadle.services.plan_texts import read_plan_text
from treadle.web.site import Site

#: Registered repositories that a form offers to tick or choose; others by their names.
OFFERED_REPOSITORIES = 400

Faults = dict[str, list[str]]

_NO_VALUE: Final = "“{}” is no NAME=VALUE."


def variables_of(text: str) -> tuple[Mapping[str, str], Sequence[str]]:
    """Of lines NAME=VALUE; and what is wrong with others."""
    found, faults = dict[str, str](), list[str]()
    for line in text.splitlines():
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            faults.append(_NO_VALUE.format(line.strip()[:100]))
        else:
            found[name.strip()] = value.strip()
    return found, faults


def variables_text(variables: Mapping[str, JsonValue]) -> str:
    """What `variables_of` reads."""
    return "\n".join(f"{name}={value}" for name, value in variables.items())


def plan_text(plan: JsonValue) -> str:
    """The JSON of a plan as somebody would write it."""
    import yaml  # noqa: PLC0415 - only those who look at a kept plan pay for it

    return str(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=100))


async def read_plan(site: Site, text: str) -> Plan:
    """Raises InvalidInput, all of it at `plan`."""
    allow_local = site.settings.allow_local_repositories
    try:
        return (await to_thread.run_sync(lambda: read_plan_text(text, allow_local=allow_local))).checked()
    except InvalidInput as error:
        raise InvalidInput({"plan": said_of_plan(error.faults)}, "The plan is not valid.") from None


async def repository_plan(site: Site, who: Principal, repository_id: int | None, name: str) -> Plan:
    """One that a repository holds. Raises InvalidInput at the form's fields."""
    if repository_id is None:
        raise InvalidInput({"plan_repository": ["Choose the repository that holds the plan."]})
    try:
        return await site.services.repository_plans.get(who, repository_id, name)
    except (NotFound, Conflict) as error:
        raise InvalidInput({"plan_name": [error.sentence()]}) from None
    except InvalidInput as error:
        raise InvalidInput({"plan_name": said_of_plan(error.faults)}) from None


def said_of_plan(faults: Mapping[str, Sequence[str]]) -> list[str]:
    """Each with the plan's key that it is about."""
    return [said if path == "plan" else f"{path}: {said}" for path, each in faults.items() for said in each]


async def offered(site: Site, who: Principal) -> tuple[Sequence[Repository], int]:
    """Those that are offered, and how many there are besides."""
    found = [each for each in await site.services.repositories.list(who.organization_id) if not each.is_archived]
    found.sort(key=lambda each: each.name.lower())
    return found[:OFFERED_REPOSITORIES], max(0, len(found) - OFFERED_REPOSITORIES)

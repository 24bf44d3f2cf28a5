"""What `treadle admin org` does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from treadle.cli.administration import Record, do, show_fields, show_many, show_one, show_text
from treadle.cli.lines import when
from treadle.cli.options import dollars_of
from treadle.domain.errors import InvalidInput
from treadle.domain.identity import Organization
from treadle.domain.run import EngineName
from treadle.factory import Parts

#: A limit that is not to change; None is no limit.
KEPT: Final = -1


@dataclass(frozen=True, slots=True)
class OrganizationChange:
    """None: stays as it is. An empty text takes a default or a cap away."""

    name: str | None = None
    is_pr_creation_enabled: bool | None = None
    is_rules_detection_enabled: bool | None = None
    engine: str | None = None
    model: str | None = None
    repository: str | None = None  # OWNER/NAME
    max_cost: str | None = None  # US dollars
    monthly_cost: str | None = None


@dataclass(frozen=True, slots=True)
class OrganizationAdministration:
    """One command's work."""

    is_json: bool

    def add(self, name: str) -> None:
        show_one(_record(do(lambda parts: parts.services.identity.add_organization(name))), is_json=self.is_json)

    def list(self) -> None:
        found = do(lambda parts: parts.services.identity.organizations())
        show_many([_record(each) for each in found], is_json=self.is_json)

    def show(self, organization: int) -> None:
        async def nothing(_: Parts, found: Organization) -> Organization:
            return found

        self._settings(organization, nothing)

    def change(self, organization: int, change: OrganizationChange) -> None:
        async def work(parts: Parts, found: Organization) -> Organization:
            return await parts.services.organizations.save(await _changed(parts, found, change))

        self._settings(organization, work)

    def make_default(self, organization: int, repository: str) -> None:
        self.change(organization, OrganizationChange(repository=repository))

    def limit(self, organization: int, slots: int | None, monthly: int | None) -> None:
        """KEPT leaves one as it is, None takes it away."""

        async def work(parts: Parts) -> Organization:
            found = await parts.services.identity.organization(organization)
            if monthly != KEPT:
                found = await parts.services.organizations.save(replace(found, monthly_runs=monthly))
            if slots != KEPT:
                await parts.services.runs.set_slots(organization, slots)
                found = replace(found, slots=slots)
            return found

        show_one(_record(do(work)), is_json=self.is_json)

    def rules(self, organization: int, text: str | None) -> None:
        """None: shows them; an empty text takes them away."""

        async def work(parts: Parts) -> str | None:
            found = await parts.services.identity.organization(organization)
            if text is not None:
                found = await parts.services.organizations.save(replace(found, rules=text))
            return found.rules

        show_text("rules", do(work), is_json=self.is_json)

    def _settings(self, organization: int, work: Callable[[Parts, Organization], Awaitable[Organization]]) -> None:
        async def worked(parts: Parts) -> Record:
            found = await work(parts, await parts.services.identity.organization(organization))
            names = {each.id: each.name for each in await parts.services.repositories.list(organization)}
            return _settings_of(found, names)

        show_fields(do(worked), is_json=self.is_json)


async def _changed(parts: Parts, found: Organization, change: OrganizationChange) -> Organization:
    repository = found.default_repository_id
    if change.repository is not None:
        named = await parts.services.repositories.named(found.id, change.repository) if change.repository else None
        repository = named.id if named is not None else None
    return replace(
        found,
        name=found.name if change.name is None else change.name,
        is_pr_creation_enabled=_or(change.is_pr_creation_enabled, found.is_pr_creation_enabled),
        is_rules_detection_enabled=_or(change.is_rules_detection_enabled, found.is_rules_detection_enabled),
        default_engine=found.default_engine if change.engine is None else _engine(change.engine),
        default_model=found.default_model if change.model is None else change.model,
        default_repository_id=repository,
        default_max_cost_usd=(
            found.default_max_cost_usd if change.max_cost is None else dollars_of("--max-cost", change.max_cost)
        ),
        monthly_cost_usd=(
            found.monthly_cost_usd if change.monthly_cost is None else dollars_of("--monthly-cost", change.monthly_cost)
        ),
    )


def _or(given: bool | None, known: bool) -> bool:
    return known if given is None else given


def _engine(name: str) -> EngineName | None:
    if not name:
        return None
    for engine in EngineName:
        if engine.lower() == name.lower():
            return engine
    raise InvalidInput({"--engine": [f"must be one of {', '.join(EngineName)}"]}, "The organization cannot be changed.")


def _record(found: Organization) -> Record:
    return {
        "id": found.id,
        "uuid": str(found.uuid),
        "name": found.name,
        "created": when(found.date_created),
        "slots": found.slots,
        "monthly": found.monthly_runs,
    }


def _settings_of(found: Organization, repositories: Mapping[int, str]) -> Record:
    default = found.default_repository_id
    return {
        **_record(found),
        "prCreation": found.is_pr_creation_enabled,
        "rulesDetection": found.is_rules_detection_enabled,
        "engine": found.default_engine,
        "model": found.default_model,
        "repository": repositories.get(default) if default is not None else None,
        "maxCostUsd": found.default_max_cost_usd,
        "monthlyCostUsd": found.monthly_cost_usd,
        "rules": found.rules,
    }

"""What becomes of failed checks on the branches that runs made: read, and changed."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from treadle.domain.errors import ForgeError, InvalidInput, SealBroken
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.repository import CheckSuiteSettings, Repository
from treadle.ports import Clock
from treadle.ports.directory import RepositoryStore
from treadle.services.audit import Audit, change_of
from treadle.services.audit_actions import Action
from treadle.services.recent import Recent
from treadle.services.repositories import Repositories

#: How often a failed check may be worked on.
MAX_RETRIES = 10

#: Entries of each list and map, and characters of a name and of a prompt.
MAX_CHECKS = 500
MAX_CHECK_NAME = 500
MAX_CHECK_PROMPT = 10_000

#: A forge is asked for the names of its checks at most this often.
NAMES_SECONDS = 60.0

#: Whose old and new values the audit log tells: all but texts for the agent.
_TOLD = frozenset({"retry_count", "ignored_checks", "retry_counts", "high_priority_apps"})


@dataclass(frozen=True, slots=True)
class CheckSuiteChange:
    """None leaves a setting as it is."""

    retry_count: int | None = None
    ignored_checks: Sequence[str] | None = None
    retry_counts: Mapping[str, int] | None = None
    custom_prompts: Mapping[str, str] | None = None
    high_priority_apps: Sequence[str] | None = None


class CheckNames(Protocol):
    """Who asks forges which checks there are."""

    async def check_names(self, repository: Repository) -> Sequence[str]: ...


class CheckSuites:
    """The use cases around check-suite settings."""

    def __init__(
        self, store: RepositoryStore, repositories: Repositories, names: CheckNames, clock: Clock, *, audit: Audit
    ) -> None:
        self._audit = audit
        self._store = store
        self._repositories = repositories
        self._names = names
        self._known: Recent[int, tuple[str, ...]] = Recent(clock, seconds=NAMES_SECONDS, size=1000)

    async def get(self, principal: Principal, repository_id: int) -> Repository:
        """The repository, with the settings and the names of checks that its forge ran. Raises NotFound, Forbidden."""
        repository = await self._repositories.get(principal, repository_id)
        return replace(repository, check_names=await self._names_of(repository))

    async def update(self, principal: Principal, repository_id: int, change: CheckSuiteChange) -> Repository:
        """As it is afterwards. Raises InvalidInput naming every fault, NotFound, Forbidden."""
        require(principal, Permission.SETTINGS)
        if faults := _faults(change):
            raise InvalidInput(faults)
        repository = await self._repositories.get(principal, repository_id)
        settings = await self._store.change_check_suite_settings(repository.id, lambda known: _changed(known, change))
        detail: JsonObject = {
            "name": repository.name,
            **change_of(repository.check_suite_settings, settings, told=_TOLD),
        }
        await self._audit.note(
            Action.REPOSITORY_CHECKS_CHANGED, principal=principal, target=repository.id, detail=detail
        )
        return replace(repository, check_suite_settings=settings)

    async def _names_of(self, repository: Repository) -> tuple[str, ...]:
        """As the forge says, asked now and then; while it says nothing, those that it named earlier."""
        known = self._known.get(repository.id)
        if known is None:
            known = repository.check_names
            with suppress(ForgeError, SealBroken):
                known = tuple(await self._names.check_names(repository))
            self._known.put(repository.id, known)
        return known


def _changed(settings: CheckSuiteSettings, change: CheckSuiteChange) -> CheckSuiteSettings:
    return CheckSuiteSettings(
        retry_count=settings.retry_count if change.retry_count is None else change.retry_count,
        ignored_checks=_kept(settings.ignored_checks, change.ignored_checks),
        retry_counts=settings.retry_counts if change.retry_counts is None else dict(change.retry_counts),
        custom_prompts=settings.custom_prompts if change.custom_prompts is None else dict(change.custom_prompts),
        high_priority_apps=_kept(settings.high_priority_apps, change.high_priority_apps),
    )


def _kept(known: tuple[str, ...], given: Sequence[str] | None) -> tuple[str, ...]:
    return known if given is None else tuple(dict.fromkeys(given))


def _faults(change: CheckSuiteChange) -> Mapping[str, Sequence[str]]:
    faults: dict[str, list[str]] = {}
    named: Mapping[str, Collection[str] | None] = {
        "ignored_checks": change.ignored_checks,
        "check_retry_counts": change.retry_counts,
        "custom_prompts": change.custom_prompts,
        "high_priority_apps": change.high_priority_apps,
    }
    for field, names in named.items():
        if names is not None and len(names) > MAX_CHECKS:
            faults[field] = [f"Must have at most {MAX_CHECKS} entries."]
        elif any(len(name) > MAX_CHECK_NAME for name in names or ()):
            faults[field] = [f"A name must be at most {MAX_CHECK_NAME} characters."]
    if change.retry_count is not None and not 0 <= change.retry_count <= MAX_RETRIES:
        faults["check_retry_count"] = [f"Must be from 0 to {MAX_RETRIES}."]
    if any(not 0 <= count <= MAX_RETRIES for count in (change.retry_counts or {}).values()):
        faults.setdefault("check_retry_counts", []).append(f"Counts must be from 0 to {MAX_RETRIES}.")
    if any(len(prompt) > MAX_CHECK_PROMPT for prompt in (change.custom_prompts or {}).values()):
        faults.setdefault("custom_prompts", []).append(f"A prompt must be at most {MAX_CHECK_PROMPT:,} characters.")
    return faults

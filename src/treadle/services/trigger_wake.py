"""What a delivery may do, and what every kind of trigger needs for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID, uuid5

from treadle.domain.deliveries import Delivery, Person
from treadle.domain.errors import Forbidden, NotFound, TooManyRequests
from treadle.domain.events import JsonObject
from treadle.domain.identity import Organization, Principal
from treadle.domain.permissions import Permission, may
from treadle.domain.plan import Plan
from treadle.domain.repository import ForgeKind, PullRequest, Repository
from treadle.domain.run import FollowUp, Run, RunSource
from treadle.domain.trigger_settings import ANYONE, MEMBERS
from treadle.domain.triggers import DeliveryStatus, Hook, HookKind, StoredDelivery, Thread, Trigger
from treadle.ports import Clock
from treadle.ports.chores import ChoreKind
from treadle.ports.conversations import Conversations
from treadle.ports.directory import RateStore
from treadle.ports.forges import ForgeRepository
from treadle.ports.triggers import TriggerStore
from treadle.services.chores import Chores
from treadle.services.plan_runs import PlanRuns, PlanTarget
from treadle.services.pull_requests import name_at_forge
from treadle.services.recent import Recent
from treadle.services.runs import Runs

#: How often an issue, a pull request or a branch may wake runs in an hour, whatever is said there.
MAX_WAKES_PER_HOUR = 20

#: How often the calls of a trigger URL may start runs in an hour.
MAX_CALLS_PER_HOUR = 200

#: Whose a repository's token is, is asked for at most this often, in seconds.
IDENTITY_SECONDS = 300.0

_HOUR: Final = 3600


class Store(TriggerStore, RateStore, Protocol):
    """Of the store, what is needed here."""

    async def get_run_by_id(self, run_id: int) -> Run: ...
    async def is_banned(self, organization_id: int, git_url: str, branch: str) -> bool: ...
    async def organization(self, organization_id: int) -> Organization: ...
    async def principal_in(self, organization_id: int, user_id: int) -> Principal | None: ...
    async def pull_requests_of(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[PullRequest]]: ...
    async def repository(self, organization_id: int, repository_id: int) -> Repository: ...


class Tokens(Protocol):
    """Who opens the repositories' tokens."""

    async def forge_token(self, repository: Repository, organization_uuid: UUID) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What followed from a delivery for one trigger."""

    status: DeliveryStatus
    detail: str
    run_id: int | None = None


def ignored(why: str, run_id: int | None = None) -> Outcome:
    return Outcome(DeliveryStatus.IGNORED, why, run_id)


def done(what: str, run_id: int) -> Outcome:
    return Outcome(DeliveryStatus.DONE, what, run_id)


@dataclass(frozen=True, slots=True)
class Place:
    """A repository and what opens it at its forge; `at_forge` None: nothing does. `own`: whose the token is."""

    repository: Repository
    at_forge: ForgeRepository | None = None
    talk: Conversations | None = None
    own: Person | None = None

    def is_own(self, person: Person | None) -> bool:
        return person is not None and self.own is not None and person.id == self.own.id


@dataclass(frozen=True, slots=True)
class Wake:
    """One delivery for one trigger. `place` None: of no repository."""

    hook: Hook
    trigger: Trigger
    stored: StoredDelivery
    told: Delivery | None
    principal: Principal
    place: Place | None


class Places:
    """Repositories at their forges."""

    def __init__(self, store: Store, tokens: Tokens, talks: Mapping[ForgeKind, Conversations], clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._talks = talks
        self._people: Recent[tuple[int, str], Person] = Recent(clock, seconds=IDENTITY_SECONDS, size=1000)

    async def of(self, organization_id: int, repository_id: int) -> Place:
        """Raises NotFound for a repository that was removed, ForgeError, SealBroken."""
        repository = await self._store.repository(organization_id, repository_id)
        if repository.forge is None:
            return Place(repository)
        organization = await self._store.organization(organization_id)
        token = await self._tokens.forge_token(repository, organization.uuid)
        if not token:
            return Place(repository)
        at_forge = ForgeRepository(repository.forge, name_at_forge(repository), token)
        talk = self._talks[repository.forge.kind]
        key = (repository.id, uuid5(organization.uuid, token).hex)
        own = self._people.get(key)
        if own is None:
            own = await talk.identity(at_forge)
            self._people.put(key, own)
        return Place(repository, at_forge, talk, own)


class Waking:
    """Starts runs, goes on with them, and sees to their answers."""

    def __init__(self, store: Store, runs: Runs, plan_runs: PlanRuns, chores: Chores, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self._runs = runs
        self._plan_runs = plan_runs
        self._chores = chores

    async def admit(self, what: str, *, most: int = MAX_WAKES_PER_HOUR) -> None:
        """Raises TooManyRequests."""
        found = await self.store.admit(f"wake {what}", limit=most, seconds=_HOUR, now=self.clock.now())
        if not found.is_admitted:
            raise TooManyRequests(
                f"This has woken runs {most} times within an hour, which is the most.",
                retry_after=max(1, round(found.retry_after)),
            )

    async def start(
        self,
        wake: Wake,
        plan: Plan,
        key: str,
        variables: Mapping[str, str],
        *,
        target: PlanTarget,
        source: RunSource,
        opens_pull_request: bool,
    ) -> Run:
        """The run of that `key` of the trigger, which is made once."""
        metadata: JsonObject = {"trigger": wake.trigger.name, "delivery": wake.stored.id}
        opens = plan.opens_pull_request if plan.opens_pull_request is not None else opens_pull_request
        return await self._plan_runs.start(
            wake.principal,
            plan,
            target,
            variables=variables,
            uuid=uuid5(wake.trigger.uuid, key),
            source=source,
            metadata=metadata,
            opens_pull_request=opens,
        )

    async def resume(self, wake: Wake, run: Run, text: str, step_id: UUID) -> tuple[Run, int]:
        """The run, and the position of the step. Raises Forbidden for one that is not the maker's to resume."""
        if run.user_id != wake.principal.user_id and not may(wake.principal, Permission.RUNS_OF_OTHERS):
            raise Forbidden("The run is somebody else's, and whoever made the trigger may not resume others' runs.")
        if not may(wake.principal, Permission.RUN):
            raise Forbidden("Whoever made the trigger may not start runs any more.")
        resumed = await self._runs.resume(run, FollowUp(text), step_id=step_id)
        return resumed, next(step.position for step in resumed.steps if step.id == step_id)

    async def answer_later(self, thread: Thread) -> None:
        await self._chores.watch_run(thread.run_id, ChoreKind.ANSWER, thread.id, self.clock.now())

    async def run_of(self, run_id: int) -> Run | None:
        try:
            return await self.store.get_run_by_id(run_id)
        except NotFound:
            return None


def source_of(kind: HookKind, at_github: RunSource = RunSource.GITHUB) -> RunSource:
    """The published words know one forge."""
    return at_github if kind is HookKind.GITHUB else RunSource.API


async def may_ask(wake: Wake, place: Place, person: Person | None) -> bool:
    """Whether what this account does may wake runs. Raises ForgeError."""
    allowed = {name.casefold() for name in wake.trigger.settings.allowed}
    if person is None:
        return ANYONE in allowed
    if person.login.casefold() in allowed - {ANYONE, MEMBERS}:
        return True
    if person.is_bot:
        return False  # two bots that answer each other would never end
    if ANYONE in allowed:
        return True
    if MEMBERS not in allowed or place.at_forge is None or place.talk is None:
        return False
    return await place.talk.may_write(place.at_forge, person)

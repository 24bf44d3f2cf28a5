"""What model time may cost: of a run, and of an organization in a month. Only what was answered counts, by the models'
own figures; nothing is guessed beforehand. So a run may pass its budget by one answer, and a month by one answer of
each run that is at work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from treadle.domain.errors import Conflict, Forbidden, InvalidInput, MonthUsedUp
from treadle.domain.events import Event, EventType
from treadle.domain.identity import Organization, Principal
from treadle.domain.money import dollars, is_passed, is_used_up, month_sentence
from treadle.domain.months import month_end, month_of
from treadle.domain.permissions import Permission, may, require
from treadle.domain.run import Run, Usage
from treadle.ports import Clock
from treadle.ports.trace import Mark
from treadle.services.organizations import Organizations
from treadle.services.run_rules import cost_fault

#: A run asks for its own limit and its organization's month at most this often, in seconds.
READ_SECONDS = 1.0

_RAISE_RUN: Final = "Resume it with a larger budget to go on."
_RAISE_MONTH: Final = "An ADMIN can raise that."


class BudgetOf(StrEnum):
    RUN = "run"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class BudgetPassed:
    """`sentence` says it to the run's owner, and what to do."""

    of: BudgetOf
    limit_usd: float
    spent_usd: float
    sentence: str


class BudgetStore(Protocol):
    """Of the store, what is needed here."""

    async def organization(self, organization_id: int) -> Organization: ...
    async def month_cost(self, organization_id: int, now: datetime) -> float: ...
    async def get_run_by_id(self, run_id: int) -> Run: ...
    async def outline(self, run_id: int) -> Sequence[Mark]: ...
    async def events(self, run_id: int, *, after: int = 0, limit: int = 1000) -> Sequence[Event]: ...


# ---- while a run goes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """`limit`: the run's own; `cap` and `spent`: its organization's month; `spent_by_run`: by this claim, when it was
    read."""

    limit: float | None
    cap: float | None
    spent: float
    spent_by_run: float
    read: datetime


class RunBudget:
    """What a claimed run may still spend: what its earlier claims spent counts too."""

    def __init__(self, run: Run, store: BudgetStore, clock: Clock) -> None:
        """`run` as it was claimed."""
        self._run = run
        self._store = store
        self._clock = clock
        self._spent = run.usage.cost_usd
        self._known: _Known | None = None

    def add(self, usage: Usage) -> None:
        """What a model has just answered. A verdict on the month counts what is recorded with a step."""
        self._spent += usage.cost_usd

    async def used_up(self) -> BudgetPassed | None:
        """Before a model is asked. None while there is something left, however little."""
        return await self._look(is_used_up)

    async def verdict(self) -> BudgetPassed | None:
        """After an answer. None while no budget is passed."""
        return await self._look(is_passed)

    async def has_room(self, under_way_usd: float) -> bool:
        """Whether that much more passes no budget."""
        return await self._look(lambda spent, limit: is_passed(spent + under_way_usd, limit)) is None

    async def is_told(self, passed: BudgetPassed) -> bool:
        """Whether an earlier claim has told it since the run was last resumed: a worker may have died between that and
        the run's end."""
        if self._run.lease == 1:
            return False
        for mark in reversed(await self._store.outline(self._run.id)):
            if mark.type is EventType.RUN_RESUMED:
                break
            if mark.type is EventType.BUDGET_PASSED:
                (event,) = await self._store.events(self._run.id, after=mark.number - 1, limit=1)
                if (event.data.get("of"), event.data.get("limitUsd")) == (passed.of, passed.limit_usd):
                    return True
        return False

    async def _look(self, is_over: Callable[[float, float], bool]) -> BudgetPassed | None:
        """Never against a run by what was true a moment ago: before it says so it reads again."""
        known = await self._read(READ_SECONDS)
        if known.limit is not None and is_over(self._spent, known.limit):
            known = await self._read(0.0)
            if known.limit is not None and is_over(self._spent, known.limit):
                return _of_run(known.limit, self._spent)
        if known.cap is not None and is_over(known.spent + self._spent - known.spent_by_run, known.cap):
            known = await self._read(0.0)
            if known.cap is not None and is_over(known.spent, known.cap):
                return _of_month(known.cap, known.spent, self._clock.now())
        return None

    async def _read(self, seconds: float) -> _Known:
        """Not older than that: a resume may change the run's limit, an ADMIN the month's."""
        known, now = self._known, self._clock.now()
        if known is None or not 0 <= (now - known.read).total_seconds() < seconds:
            spent_by_run = self._spent
            limit = (await self._store.get_run_by_id(self._run.id)).max_cost_usd
            cap = (await self._store.organization(self._run.organization_id)).monthly_cost_usd
            spent = await self._store.month_cost(self._run.organization_id, now) if cap is not None else 0.0
            known = self._known = _Known(limit, cap, spent, spent_by_run, now)
        return known


def _of_run(limit: float, spent: float) -> BudgetPassed:
    said = f"The run has cost {dollars(spent)}, and its budget is {dollars(limit)}. {_RAISE_RUN}"
    return BudgetPassed(BudgetOf.RUN, limit, spent, said)


def _of_month(cap: float, spent: float, now: datetime) -> BudgetPassed:
    return BudgetPassed(BudgetOf.ORGANIZATION, cap, spent, f"{month_sentence(cap, spent, now)} {_RAISE_MONTH}")


# ---- before it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """Of an organization, in US dollars. `spent_usd`: by what models answered in `month`, to `as_of`."""

    default_max_cost_usd: float | None
    monthly_cost_usd: float | None
    month: str
    spent_usd: float
    as_of: datetime
    month_ends: datetime

    @property
    def remaining_usd(self) -> float | None:
        """None: there is no cap."""
        return None if self.monthly_cost_usd is None else max(0.0, self.monthly_cost_usd - self.spent_usd)


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """None takes a cap away; what is not `given` stays as it is."""

    default_max_cost_usd: float | None = None
    monthly_cost_usd: float | None = None
    given: frozenset[str] = frozenset({"default_max_cost_usd", "monthly_cost_usd"})


class Budgets:
    """The use cases around budgets. Whoever is not MANAGER gives a run no more than the organization's default."""

    def __init__(self, store: BudgetStore, organizations: Organizations, clock: Clock) -> None:
        self._store = store
        self._organizations = organizations
        self._clock = clock

    async def report(self, principal: Principal) -> BudgetReport:
        """Raises Forbidden."""
        require(principal, Permission.READ)
        return await self._report(await self._store.organization(principal.organization_id))

    async def set(self, principal: Principal, change: BudgetChange) -> BudgetReport:
        """Counts for runs that are made from now on, the month's cap for all at once. Raises InvalidInput naming every
        fault, Forbidden."""
        require(principal, Permission.ADMINISTER)
        organization = await self._store.organization(principal.organization_id)
        values = {name: getattr(change, name) for name in change.given}
        return await self._report(await self._organizations.save(replace(organization, **values)))

    async def of_new_run(self, principal: Principal, asked: float | None) -> tuple[float | None, float | None]:
        """The run's budget, and the organization's cap of a month. Raises InvalidInput (path `max_cost_usd`),
        Forbidden."""
        if asked is not None and (fault := cost_fault(asked)):
            raise InvalidInput({"max_cost_usd": [fault]})
        organization = await self._store.organization(principal.organization_id)
        default = organization.default_max_cost_usd
        _require_within(principal, asked, default)
        return (default if asked is None else asked), organization.monthly_cost_usd

    async def of_resume(self, principal: Principal | None, run: Run, asked: float | None) -> None:
        """Checks whether a run may go on, with what it is given in the place of the budget that it has. `principal`
        None: the service itself. Raises InvalidInput, Forbidden, Conflict, MonthUsedUp."""
        spent = run.usage.cost_usd
        organization = await self._store.organization(run.organization_id)
        if asked is not None:
            if fault := cost_fault(asked) or _spent_fault(asked, spent):
                raise InvalidInput({"max_cost_usd": [fault]})
            if principal is not None:
                limits = (organization.default_max_cost_usd, run.max_cost_usd)
                most = max((each for each in limits if each is not None), default=None)
                _require_within(principal, asked, None if organization.default_max_cost_usd is None else most)
        elif run.max_cost_usd is not None and is_used_up(spent, run.max_cost_usd):
            raise Conflict(
                f"The run has cost {dollars(spent)}, and its budget is {dollars(run.max_cost_usd)}.",
                hint="Give it a larger one, for all that it has cost and will.",
            )
        cap, now = organization.monthly_cost_usd, self._clock.now()
        if cap is not None and is_used_up(cost := await self._store.month_cost(organization.id, now), cap):
            raise MonthUsedUp(month_sentence(cap, cost, now), hint=_RAISE_MONTH)

    async def _report(self, organization: Organization) -> BudgetReport:
        now = self._clock.now()
        return BudgetReport(
            default_max_cost_usd=organization.default_max_cost_usd,
            monthly_cost_usd=organization.monthly_cost_usd,
            month=month_of(now),
            spent_usd=await self._store.month_cost(organization.id, now),
            as_of=now,
            month_ends=month_end(now),
        )


def _spent_fault(asked: float, spent: float) -> str | None:
    return f"Must be more than the {dollars(spent)} that the run has cost." if is_used_up(spent, asked) else None


def _require_within(principal: Principal, asked: float | None, most: float | None) -> None:
    if asked is None or most is None or asked <= most or may(principal, Permission.BUDGETS):
        return
    raise Forbidden(
        f"A run of yours may cost {dollars(most)}, not {dollars(asked)}: it takes MANAGER to {Permission.BUDGETS}."
    )

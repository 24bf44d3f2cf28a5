"""What advances a batch: its chore. It looks at what is under way and at nothing else, and may be broken off anywhere:
an item is Starting before its run is made, and the run's UUID is made of the batch, the position and the attempt."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from treadle.domain.batch import (
    ENDED_AS,
    Batch,
    BatchStatus,
    ItemStatus,
    run_uuid,
    share,
    work_uuid,
)
from treadle.domain.errors import AlreadyFinished, ConfigurationError, NotFound, TreadleError
from treadle.domain.identity import Organization, Principal
from treadle.domain.money import dollars
from treadle.domain.permissions import Permission, may
from treadle.domain.plan import Plan
from treadle.domain.run import Run
from treadle.domain.states import RUN_TERMINAL
from treadle.ports import Clock, RunFilter
from treadle.ports.batches import BatchStore, ItemEnd, OpenItem, ToStart
from treadle.ports.chores import Chore, ChoreKind
from treadle.services.chores import Chores
from treadle.services.plan_runs import PlanRuns, PlanTarget
from treadle.services.runs import Runs

#: A batch that waits for its runs is looked at this often all the same, in seconds: one of them may have been resumed.
LOOK_SECONDS = 60.0

_GONE: Final = "Whoever started the batch has no role in the organization any more."


class ChoreBatchStore(BatchStore, Protocol):
    """Of the store, what is needed here."""

    async def principal_in(self, organization_id: int, user_id: int) -> Principal | None: ...
    async def organization(self, organization_id: int) -> Organization: ...
    async def get_run(self, uuid: UUID, seen_by: RunFilter) -> Run: ...


class BatchChores:
    """The handler of batches' chores."""

    def __init__(self, store: ChoreBatchStore, runs: Runs, plan_runs: PlanRuns, chores: Chores, clock: Clock) -> None:
        self._store = store
        self._runs = runs
        self._plan_runs = plan_runs
        self._chores = chores
        self._clock = clock

    async def __call__(self, chore: Chore) -> datetime | None:
        """Collects what has ended, and starts what may begin."""
        try:
            batch = await self._store.batch_by_id(chore.subject)
        except NotFound:
            return None
        if batch.is_finished:
            return None
        await self._collect(batch)
        batch = await self._store.batch_by_id(batch.id)
        if batch.date_kill_requested is not None:
            await self._kill(batch)
        else:
            await self._go_on(batch)
        batch = await self._store.batch_by_id(batch.id)
        if batch.counts.running or batch.counts.not_started:
            return self._clock.now() + timedelta(seconds=LOOK_SECONDS)
        await self._end(batch)
        return None

    # ---- what has ended

    async def _collect(self, batch: Batch) -> None:
        ends = list[ItemEnd]()
        for each in await self._store.open_items(batch.id):
            if each.run_id is None or each.run_status is None:
                continue
            if each.run_status in RUN_TERMINAL:
                status = ENDED_AS[each.run_status]
                ends.append(ItemEnd(each.item.position, status, each.run_failure, each.cost_usd))
            elif not each.is_watched:
                await self._watch(batch, each.run_id)
        if ends:
            await self._store.end_items(batch.id, ends, self._clock.now())

    async def _watch(self, batch: Batch, run_id: int) -> None:
        await self._chores.watch_run(run_id, ChoreKind.BATCH, batch.id, self._clock.now())

    # ---- killed

    async def _kill(self, batch: Batch) -> None:
        await self._store.end_waiting(batch.id, ItemStatus.KILLED, None, self._clock.now())
        for each in await self._store.open_items(batch.id):
            run = await self._found(batch, each)
            if run is None:
                await self._fail(batch, each.item, ItemStatus.KILLED, None)
            elif not each.is_kill_requested:
                with suppress(AlreadyFinished):
                    await self._runs.kill_seen(run)
                await self._watch(batch, run.id)

    async def _found(self, batch: Batch, each: OpenItem) -> Run | None:
        """Its run, also one that was made and not written down."""
        uuid = run_uuid(batch.uuid, each.item.position, each.item.attempt)
        try:
            run = await self._store.get_run(uuid, RunFilter(batch.organization_id))
        except NotFound:
            return None
        if each.run_id is None:
            await self._store.item_started(batch.id, each.item, run.id)
        return run

    # ---- started

    async def _go_on(self, batch: Batch) -> None:
        principal = await self._store.principal_in(batch.organization_id, batch.user_id)
        if principal is None:
            await self._stop(batch, _GONE)
            return
        plan, most = Plan.from_json(dict(batch.plan)), await self._most_of_one(batch, principal)
        for each in await self._store.open_items(batch.id):
            if each.run_id is None:
                await self._take_up(batch, principal, plan, each, most)
        while True:
            batch = await self._store.batch_by_id(batch.id)
            if batch.date_kill_requested is not None or not batch.counts.not_started:
                return
            if (reason := _reason_to_stop(batch)) is not None:
                await self._stop(batch, reason)
                return
            if batch.counts.running >= batch.concurrency:
                return
            budget = await self._share(batch, most)
            if budget is None and batch.max_cost_usd is not None:
                if not batch.counts.running:  # else until one of them leaves something
                    await self._stop(batch, _used_up(batch))
                return
            for item in await self._store.take_items(batch.id, 1, self._clock.now()):
                await self._start(batch, principal, plan, item, budget)

    async def _take_up(
        self, batch: Batch, principal: Principal, plan: Plan, each: OpenItem, most: float | None
    ) -> None:
        """One that was begun by somebody who did not live to write it down."""
        run = await self._found(batch, each)
        if run is not None:
            await self._watch(batch, run.id)
            return
        budget = await self._share(batch, most)
        if budget is not None or batch.max_cost_usd is None:
            await self._start(batch, principal, plan, each.item, budget)
        elif all(one.run_id is None for one in await self._store.open_items(batch.id)):  # nobody will leave anything
            await self._fail(batch, each.item, ItemStatus.FAILED, _used_up(batch))

    async def _start(
        self, batch: Batch, principal: Principal, plan: Plan, item: ToStart, max_cost_usd: float | None
    ) -> None:
        by_id, branch = item.repository_id, await self._branch_before(batch, item)
        try:
            run = await self._plan_runs.start(
                principal,
                plan,
                PlanTarget(repository_id=by_id, url=item.url if by_id is None else None, branch_work=branch),
                variables={**batch.variables, **item.variables},
                uuid=run_uuid(batch.uuid, item.position, item.attempt),
                steps_of=work_uuid(batch.uuid, item.position),
                metadata={"batch": batch.id, "position": item.position},
                max_cost_usd=max_cost_usd,
            )
        except ConfigurationError:
            raise  # of the service, and not of the repository: it is tried again
        except TreadleError as error:
            await self._fail(batch, item, ItemStatus.FAILED, error.sentence())
            return
        await self._store.item_started(batch.id, item, run.id)
        await self._watch(batch, run.id)

    async def _branch_before(self, batch: Batch, item: ToStart) -> str | None:
        """The work branch of the last attempt that had a run: what it pushed is there, and is not done again."""
        for attempt in range(item.attempt - 1, 0, -1):
            with suppress(NotFound):
                uuid = run_uuid(batch.uuid, item.position, attempt)
                return (await self._store.get_run(uuid, RunFilter(batch.organization_id))).branch_work
        return None

    async def _fail(self, batch: Batch, item: ToStart, status: ItemStatus, details: str | None) -> None:
        await self._store.end_items(batch.id, [ItemEnd(item.position, status, details)], self._clock.now())

    # ---- the money

    async def _most_of_one(self, batch: Batch, principal: Principal) -> float | None:
        """What one run may cost whatever the batch may."""
        given = batch.plan.get("maxCostUsd")
        if isinstance(given, int | float):
            return float(given)
        default = (await self._store.organization(batch.organization_id)).default_max_cost_usd
        if batch.max_cost_usd is None or may(principal, Permission.BUDGETS):
            return None
        return default

    async def _share(self, batch: Batch, most: float | None) -> float | None:
        """What the next run may cost; None: nothing now."""
        if batch.max_cost_usd is None:
            return most
        open_items = await self._store.open_items(batch.id)
        held = sum(max(each.cost_usd, each.max_cost_usd or 0.0) for each in open_items)
        found = share(batch.max_cost_usd, batch.settled_usd, held, batch.concurrency)
        return found if found is None or most is None else min(found, most)

    # ---- the end

    async def _stop(self, batch: Batch, reason: str) -> None:
        """Starts no more; what is under way goes on."""
        if batch.counts.not_started:
            await self._store.end_waiting(batch.id, ItemStatus.SKIPPED, reason, self._clock.now())

    async def _end(self, batch: Batch) -> None:
        counts, now = batch.counts, self._clock.now()
        if counts.succeeded == counts.items:
            await self._store.end_batch(batch.id, BatchStatus.SUCCESS, None, now)
        elif batch.date_kill_requested is not None:
            await self._store.end_batch(batch.id, BatchStatus.KILLED, None, now)
        else:
            missing = counts.items - counts.succeeded
            said = f"{missing:,} of {counts.items:,} repositories did not succeed."
            details = f"{batch.failure_details} {said}" if batch.failure_details is not None else said
            await self._store.end_batch(batch.id, BatchStatus.FAILED, details, now)


def _reason_to_stop(batch: Batch) -> str | None:
    if batch.failure_details is not None:
        return batch.failure_details  # it was being stopped
    failed, most = batch.counts.failed, batch.stop_after_failures
    if most is not None and failed >= most:
        return f"It was stopped after {failed:,} failure{'s' * (failed != 1)}."
    return None


def _used_up(batch: Batch) -> str:
    return f"Its runs have cost {dollars(batch.settled_usd)}, and its budget is {dollars(batch.max_cost_usd or 0.0)}."

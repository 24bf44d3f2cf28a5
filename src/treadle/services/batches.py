"""Batches: one plan on many repositories, asked for once. `batch_chores.py` advances them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from treadle.domain.batch import (
    DEFAULT_BATCH_CONCURRENCY,
    MAX_BATCH_CONCURRENCY,
    MAX_BATCH_ITEMS,
    MAX_BATCH_NAME,
    Batch,
    BatchDraft,
    BatchItem,
    ItemStatus,
)
from treadle.domain.errors import AlreadyFinished, Conflict, InvalidInput
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may, require
from treadle.domain.plan import Plan
from treadle.ports import Clock, Idempotency
from treadle.ports.batches import BatchFilter, BatchStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.batch_targets import Reach, items_of, unknown_variables
from treadle.services.chores import Chores
from treadle.services.plan_rules import Faults, kept_faults
from treadle.services.plan_texts import rule_faults
from treadle.services.repositories import Repositories
from treadle.services.run_rules import cost_fault, text_fault
from treadle.services.runs import IDEMPOTENCY_SPAN, Repeatable

#: Batches, and items of one, that one call lists at most, and unless it says so.
MAX_BATCH_PAGE = 1_000
DEFAULT_BATCH_PAGE = 100


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A batch as somebody wants it. `max_cost_usd`: what all its runs together may cost."""

    plan: Plan
    reach: Reach
    variables: Mapping[str, str]
    name: str | None = None
    concurrency: int = DEFAULT_BATCH_CONCURRENCY
    stop_after_failures: int | None = None
    max_cost_usd: float | None = None


class Batches:
    """The use cases around batches. A MEMBER has its own; one that is not the caller's to see is NotFound."""

    def __init__(
        self,
        store: BatchStore,
        repositories: Repositories,
        chores: Chores,
        clock: Clock,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
        allow_local: bool,
        allow_private_hosts: bool,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._chores = chores
        self._clock = clock
        self._audit = audit
        self._new_uuid = new_uuid
        self._allow_local = allow_local
        self._allow_private_hosts = allow_private_hosts

    async def start(
        self,
        principal: Principal,
        request: BatchRequest,
        repeatable: Repeatable | None = None,
        *,
        uuid: UUID | None = None,
    ) -> Batch:
        """The new batch, or the one that the same Idempotency-Key or `uuid` made. A repository on which the plan cannot
        be started fails in the batch, and not here.

        Raises InvalidInput naming every fault: of the plan by `plan.…`, of a target by `targets[n]`; Forbidden,
        IdempotencyMismatch.
        """
        require(principal, Permission.RUN)
        if (earlier := await self.started_with(principal, repeatable)) is not None:
            return earlier
        draft = await self._draft(principal, request)
        now = self._clock.now()
        batch, _ = await self._store.add_batch(
            draft,
            principal,
            uuid=uuid or self._new_uuid(),
            now=now,
            idempotency=_idempotency(repeatable, now),
            audit=self._audit.entry(
                Action.BATCH_STARTED,
                principal=principal,
                detail={"name": draft.name, "repositories": len(draft.items)},
            ),
        )
        self._chores.bell.ring()
        return batch

    async def started_with(self, principal: Principal, repeatable: Repeatable | None) -> Batch | None:
        """As `Runs.started_with`."""
        use = _idempotency(repeatable, self._clock.now())
        uuid = await self._store.key_use(principal, use) if use is not None else None
        return await self._store.batch(uuid, BatchFilter(principal.organization_id)) if uuid is not None else None

    async def get(self, principal: Principal, which: int | UUID) -> Batch:
        """Raises NotFound."""
        require(principal, Permission.RUN)
        return await self._store.batch(which, _seen_by(principal))

    async def check(self, principal: Principal, request: BatchRequest) -> None:
        """What `start` would refuse; nothing starts. Raises InvalidInput naming every fault, Forbidden."""
        require(principal, Permission.RUN)
        await self._draft(principal, request)

    async def seen(self, organization_id: int, batch_id: int) -> Batch:
        """For the service itself. Raises NotFound."""
        return await self._store.batch(batch_id, BatchFilter(organization_id))

    async def list(self, principal: Principal, *, limit: int, before: int | None = None) -> Sequence[Batch]:
        """Newest first."""
        require(principal, Permission.RUN)
        return await self._store.batches(_seen_by(principal), limit=limit, before=before)

    async def items(
        self, batch: Batch, *, statuses: frozenset[ItemStatus] | None = None, limit: int, after: int = 0
    ) -> Sequence[BatchItem]:
        """Of a batch that the caller was already let see, by their positions, those greater than `after`."""
        return await self._store.batch_items(batch.id, statuses=statuses, limit=limit, after=after)

    async def kill(self, principal: Principal, which: int | UUID) -> Batch:
        """It starts no more, and its runs are killed; twice is harmless. Raises NotFound, AlreadyFinished."""
        batch = await self.get(principal, which)
        if not await self._store.kill_batch(batch.id, self._clock.now()):
            raise AlreadyFinished(f"The batch has ended: {batch.status}.")
        return await self._changed(principal, batch, Action.BATCH_KILLED)

    async def retry(self, principal: Principal, which: int | UUID) -> Batch:
        """Those that failed, were killed or skipped, once more. Raises NotFound, and Conflict while it is Running, is
        being killed, or where nothing is left to try."""
        batch = await self.get(principal, which)
        if not await self._store.retry_batch(batch.id, self._clock.now()):
            batch = await self.get(principal, batch.id)
            said = "all of it succeeded" if batch.is_finished else "it is still running"
            raise Conflict(f"The batch cannot be tried again: {said}.")
        return await self._changed(principal, batch, Action.BATCH_RETRIED)

    async def set_concurrency(self, principal: Principal, which: int | UUID, concurrency: int) -> Batch:
        """How many of its runs may be under way at once, from now on. Raises NotFound, InvalidInput."""
        if (said := _count_fault(concurrency, MAX_BATCH_CONCURRENCY)) is not None:
            raise InvalidInput({"concurrency": [said]})
        batch = await self.get(principal, which)
        await self._store.set_batch_concurrency(batch.id, concurrency, self._clock.now())
        return await self._changed(principal, batch, Action.BATCH_CHANGED, concurrency=concurrency)

    async def _changed(self, principal: Principal, batch: Batch, action: Action, **detail: int) -> Batch:
        self._chores.bell.ring()
        await self._audit.note(action, principal=principal, target=batch.id, detail=detail)
        return await self.get(principal, batch.id)

    async def _draft(self, principal: Principal, request: BatchRequest) -> BatchDraft:
        plan = request.plan
        faults: Faults = {
            f"plan.{path}": list(said)
            for path, said in (kept_faults(plan) or rule_faults(plan, allow_local=self._allow_local)).items()
        }
        _check(request, faults)
        if faults:
            raise InvalidInput(faults)
        items = items_of(
            request.reach,
            await self._repositories.list(principal.organization_id),
            plan,
            request.variables,
            allow_local=self._allow_local,
            allow_private_hosts=self._allow_private_hosts,
        )
        return BatchDraft(
            name=request.name or plan.name or plan.steps[0].text.strip().splitlines()[0][:MAX_BATCH_NAME],
            plan=plan.to_json(),
            variables=request.variables,
            items=items,
            concurrency=request.concurrency,
            stop_after_failures=request.stop_after_failures,
            max_cost_usd=request.max_cost_usd,
        )


def _check(request: BatchRequest, faults: Faults) -> None:
    def check(path: str, said: str | None) -> None:
        if said:
            faults.setdefault(path, []).append(said)

    name, stop_after, max_cost = request.name, request.stop_after_failures, request.max_cost_usd
    if name is not None:
        check("name", text_fault(name) or _name_fault(name))
    check("concurrency", _count_fault(request.concurrency, MAX_BATCH_CONCURRENCY))
    check("stopAfterFailures", _count_fault(stop_after, MAX_BATCH_ITEMS) if stop_after is not None else None)
    check("maxCostUsd", cost_fault(max_cost) if max_cost is not None else None)
    faults.update({path: list(said) for path, said in unknown_variables(request.variables, request.plan).items()})


def _name_fault(name: str) -> str | None:
    is_well = bool(name.strip()) and len(name) <= MAX_BATCH_NAME and name.isprintable()
    return None if is_well else f"Must be 1 to {MAX_BATCH_NAME} printable characters."


def _count_fault(value: int, most: int) -> str | None:
    return None if 1 <= value <= most else f"Must be a whole number from 1 to {most:,}."


def _idempotency(repeatable: Repeatable | None, now: datetime) -> Idempotency | None:
    """Apart from the keys of runs."""
    if repeatable is None:
        return None
    return Idempotency(f"batch {repeatable.key}", repeatable.digest, now - IDEMPOTENCY_SPAN)


def is_batch_seen(batch: Batch, principal: Principal) -> bool:
    """Whether it is the caller's to see."""
    seen_by = _seen_by(principal)
    return batch.organization_id == seen_by.organization_id and seen_by.user_id in {None, batch.user_id}


def _seen_by(principal: Principal) -> BatchFilter:
    sees_all = may(principal, Permission.RUNS_OF_OTHERS)
    return BatchFilter(principal.organization_id, None if sees_all else principal.user_id)

"""The port to batches: one plan on many repositories, and what came of each. A batch is advanced by its chore; whatever
may give that something to do plans it in the same transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.batch import Batch, BatchDraft, BatchItem, BatchStatus, ItemStatus
from treadle.domain.identity import Principal
from treadle.domain.states import RunStatus
from treadle.ports.keys import Idempotency, KeyStore
from treadle.ports.trust import AuditEntry


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Whose batches. `user_id` None: the whole organization's."""

    organization_id: int
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class ToStart:
    """An item whose run is to be made."""

    position: int
    attempt: int
    url: str
    repository_id: int | None
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item that may have a run under way. `run_status` None: it has none, or nobody has written down which.
    `max_cost_usd`: what its run may cost; `cost_usd`: what it has cost. `is_watched`: the run's end wakes the batch."""

    item: ToStart
    status: ItemStatus
    run_id: int | None
    run_status: RunStatus | None
    run_failure: str | None
    max_cost_usd: float | None
    cost_usd: float
    is_kill_requested: bool
    is_watched: bool


@dataclass(frozen=True, slots=True)
class ItemEnd:
    """What an open item came to, with what its run has cost."""

    position: int
    status: ItemStatus
    failure_details: str | None = None
    cost_usd: float = 0.0


class BatchStore(KeyStore, Protocol):
    """Batches and their items. Every change of a status is one compare-and-set by the tables of `domain/batch.py`;
    every method that changes something may be repeated. Each may raise Unavailable."""

    async def add_batch(
        self,
        draft: BatchDraft,
        principal: Principal,
        *,
        uuid: UUID,
        now: datetime,
        idempotency: Idempotency | None = None,
        audit: AuditEntry | None = None,
    ) -> tuple[Batch, bool]:
        """Running, with its items, its chore due; and whether it is new: False repeats an earlier answer. Raises
        IdempotencyMismatch. NotFound for a repository that does not exist."""

    async def batch(self, which: int | UUID, seen_by: BatchFilter) -> Batch:
        """Raises NotFound for one that is unknown or out of `seen_by`."""

    async def batch_by_id(self, batch_id: int) -> Batch:
        """Raises NotFound."""

    async def batches(self, seen_by: BatchFilter, *, limit: int, before: int | None = None) -> Sequence[Batch]:
        """Newest first, those whose ids are smaller than `before`."""

    async def batch_items(
        self, batch_id: int, *, statuses: frozenset[ItemStatus] | None = None, limit: int, after: int = 0
    ) -> Sequence[BatchItem]:
        """By their positions, those greater than `after`."""

    async def open_items(self, batch_id: int) -> Sequence[OpenItem]:
        """Those that are Starting or Running, by their positions: as many as its concurrency has been, at most."""

    async def take_items(self, batch_id: int, count: int, now: datetime) -> Sequence[ToStart]:
        """The next so many that are NotStarted, which are Starting from now on."""

    async def item_started(self, batch_id: int, item: ToStart, run_id: int) -> None:
        """Starting -> Running; nothing where it is not that any more."""

    async def end_items(self, batch_id: int, ends: Sequence[ItemEnd], now: datetime) -> None:
        """Those that are open; they are counted with the batch, and so is what they cost."""

    async def end_waiting(self, batch_id: int, status: ItemStatus, reason: str | None, now: datetime) -> None:
        """All that are NotStarted become Skipped or Killed. `reason`: the batch's failure details, unless it has
        some."""

    async def end_batch(self, batch_id: int, status: BatchStatus, details: str | None, now: datetime) -> None:
        """Running -> `status`."""

    async def kill_batch(self, batch_id: int, now: datetime) -> bool:
        """Asks for its end; its chore is due. False when it has ended."""

    async def retry_batch(self, batch_id: int, now: datetime) -> bool:
        """Its failed, killed and skipped items are NotStarted, in another attempt; their runs are remembered. It is
        Running, its chore due. False when it is Running already or nothing is left to try."""

    async def set_batch_concurrency(self, batch_id: int, concurrency: int, now: datetime) -> None:
        """From now on; its chore is due while it is Running."""

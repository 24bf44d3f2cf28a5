"""Removes what is no longer to be kept of runs that have ended, by age and by size, and of automation, by age.

Rows go first, bytes after them: whatever ends a prune, no row points to bytes that are gone. Bytes that no row names,
left so by a prune or a worker that was killed, are found later by their keys. Any number may prune at once, next to
services that go on.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

from treadle.ports import BlobEntry, Blobs, Clock, Spent, Store
from treadle.services.trigger_work import DELIVERY_DAYS

_T = TypeVar("_T")

#: Bytes that no row names are left over when they are older than this: younger ones may be about to get their row.
LEFT_OVER_AGE = timedelta(days=1)
#: How many runs, or blobs, are removed at a time.
AT_ONCE = 8
#: How many runs, or blobs, are looked at together.
PAGE = 1000
#: A greater age than any run's, in days: a date cannot be as long ago as a number of days can be large.
_EVER = 365_000


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: what ended less than `days` ago, and of that no more than `size` bytes, the runs that ended
    last. None: no such limit."""

    days: float | None = None
    size: int | None = None

    @property
    def is_limited(self) -> bool:
        return self.days is not None or self.size is not None

    def since(self, now: datetime) -> datetime | None:
        """What is older goes."""
        return now - timedelta(days=min(self.days, _EVER)) if self.days is not None else None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would go. `items`: events, artifacts or blobs; those of a dry run are not counted."""

    runs: int = 0
    items: int = 0
    size: int = 0  # bytes

    def __add__(self, other: "Pruned") -> "Pruned":
        return Pruned(self.runs + other.runs, self.items + other.items, self.size + other.size)


class _Find(Protocol):
    async def __call__(self, *, before: datetime, after: int = 0, limit: int = 1000) -> Sequence[Spent]: ...


class Retention:
    """The policy, and its execution."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock

    async def sizes(self) -> tuple[int, int]:
        """Bytes of the events, and of the artifacts, of runs that have ended."""
        return await self._store.sizes()

    async def prune_events(self, keep: Keep, *, is_dry_run: bool = False) -> Pruned:
        """All but the last of a run, which tells how it ended."""

        async def remove(run: Spent) -> Pruned:
            count = await self._store.prune_events(run.run_id)
            return Pruned(1, count, run.size) if count else Pruned()

        return await self._prune(self._store.runs_with_events, remove, keep, is_dry_run=is_dry_run)

    async def prune_sessions(self, keep: Keep, *, is_dry_run: bool = False) -> Pruned:
        """Sessions of CLIs elsewhere that have reported nothing for as long as events are kept; never for size."""
        since = keep.since(self._clock.now())
        if since is None or is_dry_run:
            return Pruned()
        return Pruned(items=await self._store.prune_local_sessions(since))

    async def prune_automation(self, keep: Keep, *, is_dry_run: bool = False) -> Pruned:
        """What was over for as long as events are kept: batches, runs of scripts, threads at forges, counts of checks,
        firings, deliveries, share links; never for size."""
        now = self._clock.now()
        since = keep.since(now)
        if since is None or is_dry_run:
            return Pruned()
        # By a younger one it is still found out that it came before.
        received = min(since, now - timedelta(days=DELIVERY_DAYS))
        return Pruned(items=await self._store.prune_automation(since, received_before=received))

    async def prune_artifacts(self, keep: Keep, *, is_dry_run: bool = False) -> Pruned:
        """Diffs, and the work that failed steps left."""

        async def remove(run: Spent) -> Pruned:
            removed = await self._store.prune_artifacts(run.run_id)
            for artifact in removed:
                await self._blobs.delete(artifact.blob)
            return Pruned(1, len(removed), run.size) if removed else Pruned()

        return await self._prune(self._store.runs_with_artifacts, remove, keep, is_dry_run=is_dry_run)

    async def prune_leftovers(self, *, is_dry_run: bool = False) -> Pruned:
        """Bytes that no row names: of runs of this database that have ended, and of deleted files of its organizations.
        What belongs to neither may be another database's, and stays."""

        async def remove(entry: BlobEntry) -> Pruned:
            if not is_dry_run:
                await self._blobs.delete(entry.key)
            return Pruned(items=1, size=entry.size)

        pruned, old = Pruned(), self._clock.now() - LEFT_OVER_AGE
        async for page in self._old_entries("runs", old):
            pruned += await _each(await self._unneeded_of_runs(page), remove)
        async for page in self._old_entries("files", old):
            pruned += await _each(await self._unneeded_files(page), remove)
        return pruned

    async def _prune(
        self, find: _Find, remove: Callable[[Spent], Awaitable[Pruned]], keep: Keep, *, is_dry_run: bool
    ) -> Pruned:
        async def count(run: Spent) -> Pruned:
            return Pruned(runs=1, size=run.size)

        pruned, after, now = Pruned(), 0, self._clock.now()
        policy = _Policy(keep, now)
        while keep.is_limited:
            page = await find(before=now, after=after, limit=PAGE)
            pruned += await _each(policy.spent(page), count if is_dry_run else remove)
            if len(page) < PAGE:
                break
            after = page[-1].run_id
        return pruned

    async def _old_entries(self, prefix: str, old: datetime) -> AsyncIterator[Sequence[BlobEntry]]:
        page: list[BlobEntry] = []
        async for entry in self._blobs.entries(prefix):
            if entry.date_modified < old:
                page.append(entry)
            if len(page) == PAGE:
                yield page
                page = []
        yield page

    async def _unneeded_of_runs(self, page: Sequence[BlobEntry]) -> Sequence[BlobEntry]:
        owned = _owned(page)
        ended = await self._store.blobs_of_ended([*owned])
        return [entry for run, named in ended.items() for entry in owned[run] if entry.key not in named]

    async def _unneeded_files(self, page: Sequence[BlobEntry]) -> Sequence[BlobEntry]:
        found: list[BlobEntry] = []
        owned = _owned(page)
        for organization in await self._store.organizations() if owned else ():
            files = {id_: entry for entry in owned.get(organization.uuid, ()) if (id_ := _uuid(entry.key, 2))}
            known = await self._store.known_files([*files], organization.id, None)
            found += (entry for id_, entry in files.items() if id_ not in known)
        return found


class _Policy:
    """Which runs' things go. Of those that are seen it holds the ones that ended last, as many as may be kept."""

    def __init__(self, keep: Keep, now: datetime) -> None:
        self._since = keep.since(now)
        self._room = keep.size
        self._kept: list[tuple[datetime, int, Spent]] = []
        self._size = 0
        self._full_since: tuple[datetime, int] | None = None  # what ended no later than that has no room

    def spent(self, runs: Iterable[Spent]) -> Sequence[Spent]:
        """Those of `runs`, and of the ones seen before, that are not to be kept whatever comes later."""
        found = []
        for run in runs:
            if self._is_over(run):
                found.append(run)
            elif self._room is not None:
                heapq.heappush(self._kept, (run.date_completed, run.run_id, run))
                self._size += run.size
                # The longest ended goes: with it, those that ended later would be too much already.
                while self._size > self._room:
                    date, run_id, longest = heapq.heappop(self._kept)
                    self._full_since = (date, run_id)
                    self._size -= longest.size
                    found.append(longest)
        return found

    def _is_over(self, run: Spent) -> bool:
        if self._since is not None and run.date_completed < self._since:
            return True
        return self._full_since is not None and (run.date_completed, run.run_id) <= self._full_since


async def _each(things: Sequence[_T], work: Callable[[_T], Awaitable[Pruned]]) -> Pruned:
    """The sum. When one fails, those under way beside it come to their end, and no further ones begin."""
    pruned = Pruned()
    for start in range(0, len(things), AT_ONCE):
        done = await asyncio.gather(*map(work, things[start : start + AT_ONCE]), return_exceptions=True)
        for result in done:
            if isinstance(result, BaseException):
                raise result
            pruned += result
    return pruned


def _owned(entries: Iterable[BlobEntry]) -> dict[UUID, list[BlobEntry]]:
    """By the run, or the organization, whose they are."""
    found: dict[UUID, list[BlobEntry]] = {}
    for entry in entries:
        if owner := _uuid(entry.key, 1):
            found.setdefault(owner, []).append(entry)
    return found


def _uuid(key: str, at: int) -> UUID | None:
    """The UUID in a key: `runs/<run>/…`, `files/<organization>/<file>`."""
    parts = key.split("/")
    try:
        return UUID(parts[at])
    except (IndexError, ValueError):
        return None

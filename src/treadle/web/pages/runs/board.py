"""The live list: one look at the store a second for all who watch the same runs."""

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from treadle.domain.errors import TreadleError
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.web.site import Site

log = structlog.get_logger(__name__)

#: Between two looks, in seconds.
LOOK_SECONDS = 1.0

#: Runs that one look tells of at most; the next tells of the rest.
MAX_CHANGED = 200

#: Looks that a page that was away catches up with; of more it shows what it had.
_LOOKS = 5

#: What a watcher may be behind, in looks: one that reads no more is let go, and comes back.
MAX_WAITING = 30

#: Clocks of processes differ a little, and a write is seen after it was dated.
_OVERLAP = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose runs are watched. `user_id` None: the whole organization's."""

    organization_id: int
    user_id: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """Runs that were written to until `date`, the oldest write first; and how many there are by their status. `html`:
    what is shown of it, by the filters: made once for all who watch."""

    date: datetime
    runs: Sequence[Run]
    counts: Mapping[RunStatus, int]
    html: dict[Hashable, str] = field(default_factory=dict, compare=False)


@dataclass(slots=True)
class _Channel:
    watchers: set["asyncio.Queue[Change | None]"] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None


class Board:
    """Tells watchers what changes."""

    def __init__(self, site: Site) -> None:
        self._finder = site.services.finder
        self._clock = site.services.clock
        self._channels: dict[Scope, _Channel] = {}

    @asynccontextmanager
    async def watch(self, scope: Scope) -> AsyncIterator["asyncio.Queue[Change | None]"]:
        """What changes from now on; None when the watcher is too far behind, or the looking came to an end."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue(MAX_WAITING)
        channel = self._channels.setdefault(scope, _Channel())
        channel.watchers.add(queue)
        if channel.task is None:
            channel.task = asyncio.create_task(self._look(scope, channel), name=f"runs of {scope}")
        try:
            yield queue
        finally:
            channel.watchers.discard(queue)
            if not channel.watchers:
                self._channels.pop(scope, None)
                channel.task.cancel()
                await asyncio.gather(channel.task, return_exceptions=True)

    async def missed(self, scope: Scope, since: datetime) -> Sequence[Change]:
        """What changed before somebody began to watch who has a page of then."""
        found, counts = list[Change](), await self._finder.count_by_status(scope.organization_id, scope.user_id)
        since -= _OVERLAP
        while len(found) < _LOOKS:
            date = self._clock.now()
            runs = await self._finder.runs_changed(scope.organization_id, scope.user_id, since=since, limit=MAX_CHANGED)
            found.append(Change(date, runs, counts))
            if len(runs) < MAX_CHANGED or runs[-1].date_updated <= since:
                break
            since = runs[-1].date_updated
        return found

    async def _look(self, scope: Scope, channel: _Channel) -> None:
        since = self._clock.now() - _OVERLAP
        told: dict[int, tuple[datetime, RunStatus]] = {}
        counts: dict[RunStatus, int] = {}
        try:
            while True:
                date = self._clock.now()
                try:
                    changed = await self._finder.runs_changed(
                        scope.organization_id, scope.user_id, since=since, limit=MAX_CHANGED
                    )
                    fresh = [run for run in changed if told.get(run.id) != (run.date_updated, run.status)]
                    now_counts = dict(await self._finder.count_by_status(scope.organization_id, scope.user_id))
                except TreadleError as error:  # the store is away: the page says so when it is asked for again
                    log.warning("the live list could not look", error=error.message)
                else:
                    if changed:
                        since = max(since, changed[-1].date_updated - _OVERLAP)
                    told = {run.id: (run.date_updated, run.status) for run in changed}
                    if fresh or now_counts != counts:
                        counts = now_counts
                        _tell(channel, Change(date, fresh, counts))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            _tell(channel, None)


def _tell(channel: _Channel, change: Change | None) -> None:
    for queue in channel.watchers:
        if queue.full():
            while not queue.empty():
                queue.get_nowait()
            change = None
        queue.put_nowait(change)

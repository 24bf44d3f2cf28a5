"""Reads runs."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from treadle.domain.errors import NotFound
from treadle.domain.run import Run
from treadle.ports import RunFilter
from treadle.store.run_list import QUEUE_DEPTH, count_runs, list_runs
from treadle.store.run_rows import load
from treadle.store.session import Executor
from treadle.store.values import optional_date


class Runs:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def get_run(self, uuid: UUID, seen_by: RunFilter) -> Run:
        return _seen(await self._executor.glance(lambda session: load(session, uuid=uuid)), seen_by, uuid)

    async def get_run_seen(self, run_id: int, seen_by: RunFilter) -> Run:
        return _seen(await self.get_run_by_id(run_id), seen_by, run_id)

    async def get_run_by_id(self, run_id: int) -> Run:
        return await self._executor.glance(lambda session: load(session, run_id=run_id))

    async def list_runs(
        self, which: RunFilter, *, limit: int, before: int | None = None, skip: int = 0, with_outputs: bool = False
    ) -> Sequence[Run]:
        return await self._executor.read(
            lambda session: list_runs(session, which, limit=limit, before=before, skip=skip, with_outputs=with_outputs)
        )

    async def count_runs(self, which: RunFilter) -> int:
        return await self._executor.read(lambda session: count_runs(session, which))

    async def time(self) -> datetime | None:
        return optional_date(await self._executor.glance(lambda session: session.time()))

    async def queue_depth(self) -> int:
        row = await self._executor.read(lambda session: session.one(QUEUE_DEPTH))
        return 0 if row is None else row[0]


def _seen(run: Run, by: RunFilter, named: UUID | int) -> Run:
    """Raises NotFound unless the run is one of those."""
    if (
        run.organization_id != by.organization_id
        or (by.user_id is not None and run.user_id != by.user_id)
        or (by.statuses is not None and run.status not in by.statuses)
        or (by.source is not None and run.source is not by.source)
    ):
        raise NotFound(f"There is no run {named}.")
    return run

"""Reads runs."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from treadle.domain.errors import NotFound
from treadle.domain.run import Run
from treadle.ports import RunFilter
from treadle.store.run_list import QUEUE_DEPTH, list_runs
from treadle.store.run_rows import load
from treadle.store.session import Executor
from treadle.store.values import optional_date


class Runs:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def get_run(self, uuid: UUID, seen_by: RunFilter) -> Run:
        run = await self._executor.glance(lambda session: load(session, uuid=uuid))
        if (
            run.organization_id != seen_by.organization_id
            or (seen_by.user_id is not None and run.user_id != seen_by.user_id)
            or (seen_by.statuses is not None and run.status not in seen_by.statuses)
        ):
            raise NotFound(f"There is no run {uuid}.")
        return run

    async def get_run_by_id(self, run_id: int) -> Run:
        return await self._executor.glance(lambda session: load(session, run_id=run_id))

    async def list_runs(
        self, which: RunFilter, *, limit: int, before: int | None = None, skip: int = 0
    ) -> Sequence[Run]:
        return await self._executor.read(
            lambda session: list_runs(session, which, limit=limit, before=before, skip=skip)
        )

    async def time(self) -> datetime | None:
        return optional_date(await self._executor.glance(lambda session: session.time()))

    async def queue_depth(self) -> int:
        row = await self._executor.read(lambda session: session.one(QUEUE_DEPTH))
        return 0 if row is None else row[0]

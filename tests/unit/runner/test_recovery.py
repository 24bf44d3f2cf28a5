"""The sweeper and the clock of its machine."""

from pathlib import Path

import pytest
from tests.support.deployment import StillClock

from treadle.blobs.directory import DirectoryBlobs
from treadle.queues.database import DatabaseQueue, ProcessSignals
from treadle.runner.limits import Limits
from treadle.runner.recovery import Sweeper
from treadle.settings import Settings
from treadle.store.address import sqlite_url
from treadle.store.sql import SqlStore


@pytest.mark.anyio
async def test_a_clock_that_was_set_takes_no_run_from_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, swept = StillClock(), list[object]()
    store = await SqlStore.open(sqlite_url(tmp_path / "treadle.db"))
    try:
        sweep = store.sweep

        async def counted(*arguments: object, **named: object) -> object:
            swept.append(arguments)
            return await sweep(*arguments, **named)  # type: ignore[arg-type]  # handed on as it came

        monkeypatch.setattr(store, "sweep", counted)
        sweeper = Sweeper(
            store,
            DirectoryBlobs(tmp_path / "blobs"),
            DatabaseQueue(),
            ProcessSignals(),
            clock,
            Limits.of(Settings.load({}, lease_seconds=30)),
        )
        await sweeper.sweep()
        assert len(swept) == 1
        clock.advance(3600)
        await sweeper.sweep()
        assert len(swept) == 1, "left out: the workers of this machine have not pinged since"
        await sweeper.sweep()
        assert len(swept) == 2
    finally:
        await store.close()

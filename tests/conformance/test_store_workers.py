"""What workers say of themselves, on each database."""

from dataclasses import replace

import pytest
from tests.support.executors import LostAnswers
from tests.support.stores import NOW, World, later

from treadle.domain.states import RunStatus
from treadle.ports.page import WorkerReport
from treadle.store.worker_reports import SILENCE

pytestmark = pytest.mark.anyio

REPORT = WorkerReport("worker", "1.2.3", "bubblewrap ☃", 4, is_paused=False, date_started=NOW, date_seen=NOW)


async def test_a_report_replaces_the_one_before(world: World) -> None:
    await world.store.report_worker(REPORT)
    assert await world.store.workers(NOW) == (REPORT,)
    later_one = replace(REPORT, version="2", slots=1, is_paused=True, date_seen=later(10))
    await world.store.report_worker(replace(later_one, running=7))
    assert await world.store.workers(NOW) == (later_one,)


async def test_those_seen_lately_are_listed_by_name(world: World) -> None:
    for name, seen in (("b", 5.0), ("c", 0.0), ("a", 9.0)):
        await world.store.report_worker(replace(REPORT, name=name, date_seen=later(seen)))
    assert [one.name for one in await world.store.workers(NOW)] == ["a", "b", "c"]
    assert [one.name for one in await world.store.workers(later(5))] == ["a", "b"]
    await world.store.forget_worker("a")
    await world.store.forget_worker("nobody")
    assert [one.name for one in await world.store.workers(NOW)] == ["b", "c"]


async def test_it_has_the_runs_that_it_holds_now(world: World) -> None:
    for name in ("worker", "idle"):
        await world.store.report_worker(replace(REPORT, name=name))
    claimed = [await world.claimed() for _ in range(3)]
    await world.run()
    await world.store.finish(claimed[0][1], RunStatus.SUCCESS, None, later(1))
    assert [(one.name, one.running) for one in await world.store.workers(NOW)] == [("idle", 0), ("worker", 2)]


async def test_who_holds_a_run_is_known_while_it_runs(world: World) -> None:
    (held, _), (ended, fence) = await world.claimed(), await world.claimed()
    await world.run()
    assert await world.store.holders(held.organization_id) == dict.fromkeys((held.id, ended.id), "worker")
    await world.store.finish(fence, RunStatus.SUCCESS, None, later(1))
    assert await world.store.holders(held.organization_id) == {held.id: "worker"}
    assert await world.store.holders(held.organization_id + 1) == {}


async def test_one_that_is_silent_for_long_is_forgotten(world: World) -> None:
    silent = SILENCE.total_seconds()
    await world.store.report_worker(replace(REPORT, name="killed"))
    await world.store.report_worker(replace(REPORT, name="other", date_seen=later(1)))
    await world.store.report_worker(replace(REPORT, date_seen=later(silent + 1)))
    assert [one.name for one in await world.store.workers(NOW)] == ["other", "worker"]


@pytest.mark.parametrize("is_done", [True, False])
async def test_reports_whose_answers_are_lost(world: World, is_done: bool) -> None:
    world.store._executor = LostAnswers(world.store._executor, is_done=is_done)
    await world.store.report_worker(REPORT)
    assert await world.store.workers(NOW) == (REPORT,)
    await world.store.forget_worker("worker")
    assert await world.store.workers(NOW) == ()

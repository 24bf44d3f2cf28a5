"""What goes by age and by size, and that no crash leaves a row without its bytes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.deployment import START, Deployment

from treadle.domain.errors import Unavailable
from treadle.domain.events import Draft, EventType
from treadle.domain.run import Artifact, Run
from treadle.domain.states import RunStatus
from treadle.ports import BlobEntry, Fence, Spent
from treadle.services.content import checkpoints_of
from treadle.services.retention import Keep, Pruned, Retention, _Policy

DAY = 86_400.0


def retention(here: Deployment) -> Retention:
    return Retention(here.store, here.blobs, here.clock)


async def ended(here: Deployment, *, artifact: int = 0, text: str = "x", days: float = 1) -> Run:
    """A run that has ended now, with an event and perhaps an artifact of so many bytes; then time goes on."""
    run, fence = await claimed(here)
    await here.store.record(fence, [Draft(EventType.ENGINE_TEXT, {"text": text})], here.clock.now())
    if artifact:
        await keep(here, run, "diff.json", artifact)
    await here.finish(fence)
    here.clock.advance(days * DAY)
    return await here.store.get_run_by_id(run.id)


async def claimed(here: Deployment) -> tuple[Run, Fence]:
    await here.start()
    return await here.claim()


async def keep(here: Deployment, run: Run, name: str, size: int) -> str:
    """As the worker does."""
    key = f"runs/{run.uuid}/artifacts/{run.lease}-{name}"
    await here.blobs.put(key, b"x" * size)
    artifact = Artifact(run.id, name, "application/json", size, key, here.clock.now())
    await here.store.add_artifact(Fence(run.id, run.lease), artifact)
    await here.store.record(Fence(run.id, run.lease), [], here.clock.now(), has_diff=True)
    return key


async def kept_events(here: Deployment, *runs: Run) -> list[bool]:
    return [len(await here.store.events(run.id)) > 1 for run in runs]


async def kept_artifacts(here: Deployment, *runs: Run) -> list[bool]:
    return [bool(await here.store.artifacts(run.id)) for run in runs]


async def keys(here: Deployment) -> set[str]:
    return {entry.key async for entry in here.blobs.entries()}


async def whole(here: Deployment) -> bool:
    """Whether no row points to bytes that are gone."""
    there = await keys(here)
    rows = [artifact.blob for id_ in range(1, 100) for artifact in await here.store.artifacts(id_)]
    return there >= set(rows)


# ---- the policy ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=60),
    st.none() | st.integers(0, 60),
    st.none() | st.integers(0, 200),
    st.integers(1, 7),
)
def test_of_the_young_enough_those_that_ended_last_are_kept(
    runs: list[tuple[int, int]], days: int | None, room: int | None, page: int
) -> None:
    now = START + timedelta(days=50)
    spent = [Spent(at, UUID(int=at), START + timedelta(days=day), size) for at, (day, size) in enumerate(runs)]
    policy, gone = _Policy(Keep(days, room), now), set[Spent]()
    for start in range(0, len(spent), page):
        found = policy.spent(spent[start : start + page])
        assert gone.isdisjoint(found)
        gone.update(found)

    expected, size = set[Spent](), 0
    for run in sorted(spent, key=lambda one: (one.date_completed, one.run_id), reverse=True):
        is_old = days is not None and run.date_completed < now - timedelta(days=days)
        if not is_old:
            size += run.size
        if is_old or (room is not None and size > room):
            expected.add(run)
    if room is not None:  # what takes no room may stay, whatever its age
        assert {run for run in expected ^ gone if run.size} == set()
    else:
        assert gone == expected


# ---- by age and by size ----------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("is_dry_run", [True, False])
async def test_what_ended_longer_ago_goes(here: Deployment, is_dry_run: bool) -> None:
    runs = [await ended(here, artifact=10) for _ in range(4)]  # 4, 3, 2 and 1 days ago
    sizes = await here.store.runs_with_events(before=here.clock.now())
    events = await retention(here).prune_events(Keep(days=2.5), is_dry_run=is_dry_run)
    artifacts = await retention(here).prune_artifacts(Keep(days=1.5), is_dry_run=is_dry_run)
    items = (0, 0) if is_dry_run else (6, 3)
    assert events == Pruned(2, items[0], sum(run.size for run in sizes[:2]))
    assert artifacts == Pruned(3, items[1], 30)
    assert await kept_events(here, *runs) == ([True] * 4 if is_dry_run else [False, False, True, True])
    assert await kept_artifacts(here, *runs) == ([True] * 4 if is_dry_run else [False, False, False, True])
    assert len(await keys(here)) == (4 if is_dry_run else 1)
    assert await whole(here)


@pytest.mark.anyio
@pytest.mark.parametrize("is_dry_run", [True, False])
async def test_of_what_is_too_much_the_longest_ended_go(here: Deployment, is_dry_run: bool) -> None:
    runs = [await ended(here, artifact=size) for size in (40, 10, 20, 30)]
    artifacts = await retention(here).prune_artifacts(Keep(size=50), is_dry_run=is_dry_run)
    assert artifacts == Pruned(2, 0 if is_dry_run else 2, 50)
    assert await kept_artifacts(here, *runs) == ([True] * 4 if is_dry_run else [False, False, True, True])
    if not is_dry_run:
        assert await retention(here).sizes() == ((await here.store.sizes())[0], 50)
        assert await retention(here).prune_artifacts(Keep(size=50)) == Pruned()
        assert await retention(here).prune_artifacts(Keep(size=49)) == Pruned(1, 1, 20)


@pytest.mark.anyio
async def test_age_and_size_together(here: Deployment) -> None:
    runs = [await ended(here, artifact=10) for _ in range(5)]
    assert await retention(here).prune_artifacts(Keep(days=3.5, size=20)) == Pruned(3, 3, 30)
    assert await kept_artifacts(here, *runs) == [False, False, False, True, True]


@pytest.mark.anyio
async def test_nothing_at_all_may_be_kept(here: Deployment) -> None:
    runs = [await ended(here, artifact=10) for _ in range(2)]
    living, _ = await claimed(here)
    await keep(here, living, "diff.json", 3)
    assert (await retention(here).prune_events(Keep(size=0))).runs == 2
    assert (await retention(here).prune_artifacts(Keep(days=0))).runs == 2
    assert await kept_events(here, *runs, living) == [False, False, True]
    assert await kept_artifacts(here, *runs, living) == [False, False, True]
    last = (await here.store.events(runs[0].id))[0]
    assert (last.number, last.type) == (runs[0].last_event, EventType.RUN_FINISHED)


@pytest.mark.anyio
@pytest.mark.parametrize("keep", [Keep(), Keep(days=1e300), Keep(days=4, size=1 << 60)])
async def test_within_the_limits_nothing_goes(here: Deployment, keep: Keep) -> None:
    run = await ended(here, artifact=10)
    assert await retention(here).prune_events(keep) == Pruned()
    assert await retention(here).prune_artifacts(keep) == Pruned()
    assert await kept_events(here, run) == await kept_artifacts(here, run) == [True]


@pytest.mark.anyio
async def test_a_page_follows_the_other(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.services.retention.PAGE", 3)
    runs = [await ended(here, artifact=1, days=0) for _ in range(10)]
    here.clock.advance(1)
    assert (await retention(here).prune_events(Keep(days=0))).runs == 10
    assert await retention(here).prune_artifacts(Keep(size=4)) == Pruned(6, 6, 6)
    assert await kept_artifacts(here, *runs) == [False] * 6 + [True] * 4


@pytest.mark.anyio
async def test_two_prunes_at_once_remove_no_more_than_one(here: Deployment) -> None:
    runs = [await ended(here, artifact=10) for _ in range(12)]
    done = await asyncio.gather(*(retention(here).prune_artifacts(Keep(size=50)) for _ in range(3)))
    assert sum(one.items for one in done) == 7
    assert await kept_artifacts(here, *runs) == [False] * 7 + [True] * 5
    assert len(await keys(here)) == 5


# ---- what is left over -----------------------------------------------------------------------------------------------


async def leave(here: Deployment, key: str, *, days: float = 2) -> str:
    """Bytes that were put so long ago."""
    await here.blobs.put(key, b"12345")
    moment = (here.clock.now() - timedelta(days=days)).timestamp()
    os.utime(here.settings.data_dir / "blobs" / key, (moment, moment))
    return key


@pytest.mark.anyio
async def test_bytes_that_no_row_names_are_found(here: Deployment) -> None:
    run = await ended(here, artifact=10)
    living, _ = await claimed(here)
    organization = here.admin.organization.uuid
    principal = await here.store.principal_by_uuids(organization, here.admin.user.uuid)
    assert principal is not None
    file = await here.services.files.upload(principal, "a.txt", None, _bytes(b"abc"))
    here.clock.advance(3 * DAY)
    for entry in [entry async for entry in here.blobs.entries()]:  # all of them old enough
        os.utime(here.settings.data_dir / "blobs" / entry.key, (0, 0))
    rows = await keys(here)
    left = {
        await leave(here, f"runs/{run.uuid}/artifacts/9-diff.json"),
        await leave(here, f"{checkpoints_of(run.uuid)}1-analysis-1.tar"),
        await leave(here, f"files/{organization}/{uuid4()}"),
    }
    stays = {
        await leave(here, f"runs/{run.uuid}/artifacts/8-diff.json", days=0.9),  # its row may come
        await leave(here, f"runs/{living.uuid}/artifacts/1-diff.json"),
        await leave(here, f"{checkpoints_of(living.uuid)}1-analysis-1.tar"),
        await leave(here, f"runs/{uuid4()}/artifacts/1-diff.json"),  # another database's
        await leave(here, f"files/{uuid4()}/{uuid4()}"),
        await leave(here, "runs/elsewhere/1"),
        await leave(here, "other"),
    }
    assert await retention(here).prune_leftovers(is_dry_run=True) == Pruned(items=3, size=15)
    assert await keys(here) == rows | left | stays
    assert await retention(here).prune_leftovers() == Pruned(items=3, size=15)
    assert await keys(here) == rows | stays
    assert await retention(here).prune_leftovers() == Pruned()
    assert (await here.services.files.get(principal, file.id)).size == 3


@pytest.mark.anyio
async def test_leftovers_come_in_pages_too(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.services.retention.PAGE", 4)
    run = await ended(here)
    for number in range(9):
        await leave(here, f"runs/{run.uuid}/artifacts/{number}-x")
    assert (await retention(here).prune_leftovers()).items == 9
    assert await keys(here) == set()


async def _bytes(data: bytes) -> AsyncIterator[bytes]:
    yield data


# ---- what goes wrong -------------------------------------------------------------------------------------------------


class _Away:
    """Blobs that cannot be removed for a while."""

    async def delete(self, _key: str) -> None:
        raise Unavailable("The place does not answer.")

    def entries(self, _prefix: str = "") -> AsyncIterator[BlobEntry]:
        raise Unavailable("The place does not answer.")


@pytest.mark.anyio
async def test_blobs_that_are_away_leave_bytes_without_rows_and_no_rows_without_bytes(here: Deployment) -> None:
    runs = [await ended(here, artifact=10) for _ in range(3)]
    away = Retention(here.store, _Away(), here.clock)  # type: ignore[arg-type]  # nothing else of it is used
    with pytest.raises(Unavailable):
        await away.prune_artifacts(Keep(size=0))
    assert await kept_artifacts(here, *runs) == [False] * 3
    assert len(await keys(here)) == 3
    for key in await keys(here):
        os.utime(here.settings.data_dir / "blobs" / key, (0, 0))
    assert await retention(here).prune_leftovers() == Pruned(items=3, size=30)


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from treadle.blobs.directory import DirectoryBlobs
from treadle.clock import SystemClock
from treadle.services.retention import Keep, Retention
from treadle.store.sql import SqlStore

class Deadly(DirectoryBlobs):
    left = int(sys.argv[2])

    async def delete(self, key):
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        await super().delete(key)
        self.left -= 1

async def main(folder):
    store = await SqlStore.open(f"sqlite:///{folder / 'treadle.db'}")
    retention = Retention(store, Deadly(folder / "blobs"), SystemClock())
    await retention.prune_events(Keep(size=0))
    await retention.prune_artifacts(Keep(size=0))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.anyio
@pytest.mark.parametrize("after", [0, 8])
async def test_a_prune_that_is_killed_is_taken_up_by_the_next(here: Deployment, after: int) -> None:
    here.clock.time = datetime(2021, 1, 1, tzinfo=UTC)  # the other process has the time of the machine
    runs = [await ended(here, artifact=10) for _ in range(20)]
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, str(here.settings.data_dir), str(after), stderr=subprocess.DEVNULL
    )
    assert await killed.wait() == -signal.SIGKILL
    assert await whole(here)
    kept = await kept_artifacts(here, *runs)
    assert 0 < kept.count(False) < 20
    pruned = await retention(here).prune_artifacts(Keep(size=0))
    assert pruned.runs == kept.count(True)
    for key in await keys(here):
        os.utime(here.settings.data_dir / "blobs" / key, (0, 0))
    left = await retention(here).prune_leftovers()
    assert 0 < left.items <= kept.count(False) - after
    assert await keys(here) == set()


@pytest.mark.anyio
async def test_a_run_that_goes_on_meanwhile_ends_as_it_should(here: Deployment) -> None:
    """Its every event is there, whatever was pruned around it."""
    for _ in range(5):
        await ended(here, artifact=10)
    run, fence = await claimed(here)
    pruner = retention(here)
    for number in range(20):
        await here.store.record(fence, [Draft(EventType.ENGINE_TEXT, {"text": str(number)})], here.clock.now())
        await asyncio.gather(pruner.prune_events(Keep(size=0)), pruner.prune_artifacts(Keep(size=0)))
    key = await keep(here, run, "diff.json", 7)
    await pruner.prune_leftovers()
    await here.finish(fence, RunStatus.SUCCESS)
    events = await here.store.events(run.id)
    assert [event.number for event in events] == list(range(1, 24))
    assert await keys(here) == {key}

"""What a claimed run asks of a store, or of a place for bytes, that does not answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest
from tests.support.stores import NOW, World, open_world

from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.errors import ConfigurationError, LeaseLost, NotFound, Unavailable
from treadle.domain.states import RunStatus
from treadle.ports import Fence, Store
from treadle.runner import patience
from treadle.runner.patience import Hold, PatientBlobs, PatientStore
from treadle.store.address import sqlite_url

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)


@pytest.fixture
async def world(tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    async with open_world(sqlite_url(tmp_path / "treadle.db")) as made:
        yield made


def held(seconds: float) -> Hold:
    """Surely for so long."""
    return Hold(seconds / patience.SAFE_SHARE, patience.now_on_this_machine())


class Flaky:
    """Raises `error` the first `times` it is asked."""

    def __init__(self, times: float, error: Callable[[], Exception] = lambda: Unavailable("away")) -> None:
        self.left = times
        self.error = error
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self.left > 0:
            self.left -= 1
            raise self.error()
        return "there"


async def test_what_is_away_for_a_while_is_asked_again() -> None:
    flaky = Flaky(5)
    assert await held(30).patiently(flaky) == "there"
    assert flaky.asked == 6


async def test_nothing_is_asked_again_once_the_lease_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    flaky, began = Flaky(float("inf")), patience.now_on_this_machine()
    monkeypatch.setattr(patience, "now_on_this_machine", lambda: began + 0.05 * flaky.asked)
    with pytest.raises(Unavailable):
        await held(0.2).patiently(flaky)
    asked = flaky.asked
    assert asked == 4
    with pytest.raises(Unavailable):
        await held(0).patiently(flaky)
    assert flaky.asked == asked + 1, "once it is tried: the store is what knows"


async def test_a_ping_that_succeeds_meanwhile_gives_more_time() -> None:
    hold = held(0.1)
    flaky = Flaky(float("inf"))
    asking = asyncio.create_task(hold.patiently(flaky))
    hold.renew(patience.now_on_this_machine() + 30)
    await asyncio.wait({asking}, timeout=0.3)
    assert not asking.done()
    flaky.left = 0
    assert await asyncio.wait_for(asking, 30) == "there"


async def test_an_older_ping_takes_no_time_away() -> None:
    hold = held(30)
    before = hold.remaining
    hold.renew(patience.now_on_this_machine() - 1000)
    assert hold.remaining > before - 10


@pytest.mark.parametrize("error", [LeaseLost("another has it"), NotFound("gone")])
async def test_other_errors_are_told_at_once(error: Exception) -> None:
    flaky = Flaky(1, lambda: error)
    with pytest.raises(type(error)):
        await held(30).patiently(flaky)
    assert flaky.asked == 1


class Forgetful:
    """A store that does what it is asked, and whose answer the connection then loses."""

    def __init__(self, store: Store, *, is_lost: bool) -> None:
        self._store = store
        self._is_lost = is_lost
        self.get_run_by_id = store.get_run_by_id

    async def finish(
        self,
        fence: Fence,
        status: RunStatus,
        failure_details: str | None,
        now: datetime,
        *,
        is_after_steps: bool = False,
    ) -> RunStatus:
        became = await self._store.finish(fence, status, failure_details, now, is_after_steps=is_after_steps)
        self._lose()
        return became

    async def release(self, fence: Fence, now: datetime) -> None:
        await self._store.release(fence, now)
        self._lose()

    def _lose(self) -> None:
        is_lost, self._is_lost = self._is_lost, False
        if is_lost:
            raise Unavailable("the answer was lost")


async def test_an_end_whose_answer_was_lost_is_an_end(world: World) -> None:
    _, fence = await world.claimed()
    forgetful = PatientStore(cast("Store", Forgetful(world.store, is_lost=True)), held(30))
    await forgetful.finish(fence, RunStatus.SUCCESS, None, NOW)
    run, fence = await world.claimed()
    forgetful = PatientStore(cast("Store", Forgetful(world.store, is_lost=True)), held(30))
    await forgetful.release(fence, NOW)
    assert (await world.store.get_run_by_id(run.id)).status is RunStatus.NEW


async def test_an_end_by_somebody_else_is_a_lost_lease(world: World) -> None:
    run, fence = await world.claimed()
    await world.store.release(fence, NOW)
    assert await world.store.claim("other", NOW, run_id=run.id) is not None
    for is_lost in (False, True):
        store = PatientStore(cast("Store", Forgetful(world.store, is_lost=is_lost)), held(30))
        with pytest.raises(LeaseLost):
            await store.finish(fence, RunStatus.SUCCESS, None, NOW)
        with pytest.raises(LeaseLost):
            await store.release(fence, NOW)


async def test_patience_has_a_bound_of_its_own() -> None:
    with pytest.raises(Unavailable):
        await held(30).patiently(Flaky(float("inf")), seconds=0.05)


class BreakingBlobs(DirectoryBlobs):
    """Breaks off in the middle of the first download, and refuses to delete."""

    is_broken = True
    error: type[ConfigurationError] = Unavailable

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        async for chunk in super().stream(key, chunk_bytes=min(chunk_bytes, 4)):
            yield chunk
            if self.is_broken:
                self.is_broken = False
                raise Unavailable("the connection broke")

    async def delete(self, key: str) -> None:  # noqa: ARG002 - the port's
        raise self.error("away")


async def test_a_download_that_breaks_off_begins_anew(tmp_path: Path) -> None:
    blobs = BreakingBlobs(tmp_path / "blobs")
    await blobs.put("files/a", b"0123456789")
    await PatientBlobs(blobs, held(30)).download("files/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize("error", [Unavailable, ConfigurationError])
async def test_bytes_that_cannot_be_removed_end_no_run(tmp_path: Path, error: type[ConfigurationError]) -> None:
    blobs = BreakingBlobs(tmp_path / "blobs")
    blobs.error = error  # a secret that is not accepted any more, too
    await blobs.put("files/a", b"kept")
    await PatientBlobs(blobs, held(30)).keep_only("files", ())
    assert await blobs.get("files/a") == b"kept"
    await PatientBlobs(blobs, held(30)).delete("files/a")


async def test_only_what_is_named_is_kept(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    for key in ("runs/1/checkpoint/a", "runs/1/checkpoint/b", "runs/1/other"):
        await blobs.put(key, b"x")
    await PatientBlobs(blobs, held(30)).keep_only("runs/1/checkpoint/", {"runs/1/checkpoint/b"})
    assert sorted([entry.key async for entry in blobs.entries()]) == ["runs/1/checkpoint/b", "runs/1/other"]

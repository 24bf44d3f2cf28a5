"""What is copied, what is left alone, and what happens to what changes meanwhile."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle.blobs.copying import COPY_TRIES, Copying, Tally
from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.ports import BlobEntry

pytestmark = pytest.mark.anyio

CONTENTS = {f"runs/{number % 3}/{number}": b"x" * number for number in range(40)}
SIZE = sum(map(len, CONTENTS.values()))


@pytest.fixture
async def source(tmp_path: Path) -> DirectoryBlobs:
    blobs = DirectoryBlobs(tmp_path / "source")
    for key, content in CONTENTS.items():
        await blobs.put(key, content)
    return blobs


@pytest.fixture
def target(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "target")


def outdate(path: Path) -> None:
    """As if it had been written an hour earlier."""
    earlier = path.stat().st_mtime - 3600
    os.utime(path, (earlier, earlier))


async def contents(blobs: DirectoryBlobs) -> dict[str, bytes]:
    return {entry.key: await blobs.get(entry.key) async for entry in blobs.entries()}


async def test_all_of_it_arrives_once(source: DirectoryBlobs, target: DirectoryBlobs) -> None:
    assert await Copying(source, target).run() == Tally(copied=40, copied_bytes=SIZE)
    assert await contents(target) == CONTENTS
    assert await Copying(source, target).run() == Tally(there=40, there_bytes=SIZE)
    assert await Copying(source, target, verify=True).run() == Tally(there=40, there_bytes=SIZE)


async def test_a_second_pass_brings_what_changed_since(
    source: DirectoryBlobs, target: DirectoryBlobs, tmp_path: Path
) -> None:
    await Copying(source, target).run()
    await source.put("runs/1/1", b"of another size")
    outdate(tmp_path / "target/runs/2/2")
    await source.put("runs/2/2", b"yy")
    await source.put("new", b"new")
    await target.put("kept", b"written by a service that uses the new place already")
    assert await Copying(source, target).run() == Tally(
        copied=3, copied_bytes=15 + 2 + 3, there=38, there_bytes=SIZE - 1 - 2
    )
    assert await target.get("runs/1/1") == b"of another size"
    assert await target.get("runs/2/2") == b"yy"
    assert (await target.get("kept")).startswith(b"written")


async def test_only_verifying_finds_another_content_of_the_same_size(
    source: DirectoryBlobs, target: DirectoryBlobs
) -> None:
    await Copying(source, target).run()
    await target.put("runs/0/39", b"y" * 39)
    assert (await Copying(source, target).run()).copied == 0
    assert (await Copying(source, target, verify=True).run()).copied == 1
    assert await contents(target) == CONTENTS


class Losing(DirectoryBlobs):
    """A place that loses the last byte of one blob."""

    puts = 0

    async def put(self, key: str, data: bytes | Path | AsyncIterator[bytes]) -> int:
        size = await super().put(key, data)
        if key == "runs/0/39":
            self.puts += 1
            await super().put(key, (await self.get(key))[:-1])
        return size


async def test_what_does_not_arrive_as_it_left_is_named(source: DirectoryBlobs, tmp_path: Path) -> None:
    target = Losing(tmp_path / "target")
    tally = await Copying(source, target, verify=True).run()
    assert target.puts == COPY_TRIES
    assert [key for key, _ in tally.failed] == ["runs/0/39"]
    assert tally.copied == 39
    assert tally.seen == 40


class Faulty(DirectoryBlobs):
    """A place where one blob cannot be read."""

    failure: Exception

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        if key == "runs/0/39":
            raise self.failure
        async for chunk in super().stream(key, chunk_bytes=chunk_bytes):
            yield chunk


async def test_one_that_fails_holds_up_no_other(source: DirectoryBlobs, target: DirectoryBlobs, tmp_path: Path) -> None:
    faulty = Faulty(tmp_path / "source")
    faulty.failure = ConfigurationError("It cannot be read.")
    tally = await Copying(faulty, target).run()
    assert tally == Tally(copied=39, copied_bytes=SIZE - 39, failed=(("runs/0/39", "It cannot be read."),))
    assert [entry.key async for entry in target.entries() if entry.key == "runs/0/39"] == []


async def test_a_place_that_is_away_ends_it(source: DirectoryBlobs, target: DirectoryBlobs, tmp_path: Path) -> None:
    faulty = Faulty(tmp_path / "source")
    faulty.failure = Unavailable("It is away.")
    with pytest.raises(Unavailable, match="It is away"):
        await Copying(faulty, target).run()
    assert (await Copying(source, target).run()).failed == ()
    assert await contents(target) == CONTENTS


class Unlistable(DirectoryBlobs):
    async def entries(self, prefix: str = "") -> AsyncIterator[BlobEntry]:
        async for entry in super().entries(prefix):
            yield entry
            raise ConfigurationError("It cannot be listed.")


async def test_a_place_that_cannot_be_listed_ends_it(
    source: DirectoryBlobs, target: DirectoryBlobs, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        await Copying(Unlistable(tmp_path / "source"), target).run()


class Vanishing(DirectoryBlobs):
    """A place whose service deletes a blob between its listing and its reading."""

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        if key == "runs/0/39":
            await self.delete(key)
        async for chunk in super().stream(key, chunk_bytes=chunk_bytes):
            yield chunk


async def test_what_is_deleted_meanwhile_is_no_failure(
    source: DirectoryBlobs, target: DirectoryBlobs, tmp_path: Path
) -> None:
    assert await Copying(Vanishing(tmp_path / "source"), target).run() == Tally(
        copied=39, copied_bytes=SIZE - 39, gone=1
    )
    assert "runs/0/39" not in await contents(target)

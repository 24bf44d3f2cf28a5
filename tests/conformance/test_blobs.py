"""What every adapter of the Blobs port must do."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from tests.support.s3 import Bucket

from treadle.blobs.directory import DirectoryBlobs
from treadle.blobs.places import open_blobs
from treadle.domain.errors import NotFound, Unavailable
from treadle.ports import BlobEntry, Blobs
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

KEY = "runs/0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0001/trace.jsonl"


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.s3)])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "directory":
        return DirectoryBlobs(tmp_path / "blobs")
    bucket: Bucket = request.getfixturevalue("s3_bucket")
    given = {f"TREADLE_{name}": value for name, value in bucket.settings.items()}
    settings = Settings.load(given, data_dir=tmp_path / "data")
    return open_blobs(settings.blob_url, settings)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def entries(blobs: Blobs, prefix: str = "") -> dict[str, BlobEntry]:
    return {entry.key: entry async for entry in blobs.entries(prefix)}


async def read(blobs: Blobs, key: str, chunk_bytes: int = 1 << 20) -> list[bytes]:
    return [chunk async for chunk in blobs.stream(key, chunk_bytes=chunk_bytes)]


SIZES = {"empty": b"", "small": b"x", "large": bytes(range(256)) * 9000, "very large": bytes(range(256)) * 60_000}


@pytest.mark.parametrize("content", SIZES.values(), ids=SIZES)
async def test_bytes_come_back_however_they_went_in(blobs: Blobs, tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    half = len(content) // 2
    for data in (content, source, pieces(content[:half], b"", content[half:])):
        await blobs.delete(KEY)
        assert await blobs.put(KEY, data) == len(content)
        assert await blobs.get(KEY) == content
        assert b"".join(await read(blobs, KEY)) == content


async def test_a_put_replaces(blobs: Blobs) -> None:
    await blobs.put(KEY, b"a long first version")
    await blobs.put(KEY, b"second")
    assert await blobs.get(KEY) == b"second"


async def test_streams_come_in_bounded_chunks(blobs: Blobs) -> None:
    await blobs.put(KEY, b"x" * 2500)
    assert all(0 < len(chunk) <= 1000 for chunk in await read(blobs, KEY, 1000))


async def test_a_stream_may_be_left_early(blobs: Blobs) -> None:
    await blobs.put(KEY, b"x" * 2500)
    async with aclosing(blobs.stream(KEY, chunk_bytes=1000)) as stream:  # type: ignore[type-var]  # a generator in all adapters
        assert await anext(stream) == b"x" * 1000


async def test_missing_bytes_are_not_found(blobs: Blobs) -> None:
    with pytest.raises(NotFound):
        await blobs.get(KEY)
    with pytest.raises(NotFound):
        await anext(blobs.stream(KEY))
    await blobs.delete(KEY)
    await blobs.delete_prefix("runs")


async def test_a_broken_source_leaves_what_was_there(blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        raise OSError(5, "the client went away")

    await blobs.put(KEY, b"before")
    with pytest.raises(OSError, match="the client went away"):
        await blobs.put(KEY, broken())
    assert await blobs.get(KEY) == b"before"


async def test_a_cancelled_put_leaves_what_was_there(blobs: Blobs) -> None:
    begun = anyio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        begun.set()
        await anyio.sleep_forever()

    async def put() -> None:
        await blobs.put(KEY, endless())

    await blobs.put(KEY, b"before")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put)
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert await blobs.get(KEY) == b"before"


async def test_a_reader_keeps_the_version_it_began(blobs: Blobs) -> None:
    await blobs.put(KEY, b"a" * 10)
    async with aclosing(blobs.stream(KEY, chunk_bytes=5)) as stream:  # type: ignore[type-var]  # a generator in all adapters
        first = await anext(stream)
        await blobs.put(KEY, b"b" * 10)
        assert first + await anext(stream) == b"a" * 10


async def test_a_reader_gets_one_version_or_is_told(blobs: Blobs) -> None:
    """Also of more than any buffer on the way holds."""
    await blobs.put(KEY, b"a" * 20_000_000)
    async with aclosing(blobs.stream(KEY)) as stream:  # type: ignore[type-var]  # a generator in all adapters
        size, letters = len(await anext(stream)), {*b"a"}
        await blobs.put(KEY, b"b" * 20_000_000)
        try:
            async for chunk in stream:
                size, letters = size + len(chunk), letters | set(chunk)
        except Unavailable:
            return
    assert size == 20_000_000
    assert letters == {*b"a"}


async def test_many_puts_at_once_all_arrive(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"p" * 1_500_000)

    async def put(number: int) -> None:
        data: list[bytes | Path | AsyncIterator[bytes]] = [b"b" * 1000, source, pieces(*[b"i" * 700_000] * 2)]
        await blobs.put(f"many/{number}", data[number % 3])

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(put, number)
    sizes = [1000, 1_500_000, 1_400_000]
    assert {entry.key: entry.size async for entry in blobs.entries("many")} == {
        f"many/{number}": sizes[number % 3] for number in range(50)
    }


async def test_writers_of_one_key_do_not_mix(blobs: Blobs) -> None:
    async def put(letter: bytes) -> None:
        await blobs.put(KEY, pieces(*([letter * 50_000] * 50)))

    async with anyio.create_task_group() as tasks:
        for letter in (b"a", b"b", b"c"):
            tasks.start_soon(put, letter)
    content = await blobs.get(KEY)
    assert len(content) == 2_500_000
    assert len(set(content)) == 1


async def test_a_prefix_is_deleted_up_to_its_slash(blobs: Blobs) -> None:
    for key in ("runs/1/a", "runs/1/b/c", "runs/10/a", "other"):
        await blobs.put(key, b"x")
    await blobs.delete_prefix("runs/1/")
    for gone in ("runs/1/a", "runs/1/b/c"):
        with pytest.raises(NotFound):
            await blobs.get(gone)
    assert await blobs.get("runs/10/a") == b"x"
    await blobs.delete_prefix("runs")
    with pytest.raises(NotFound):
        await blobs.get("runs/10/a")
    assert await blobs.get("other") == b"x"


async def test_entries_are_what_there_is(blobs: Blobs) -> None:
    assert await entries(blobs) == {}
    assert await entries(blobs, "runs/1") == {}
    begun = datetime.now(UTC) - timedelta(seconds=2)  # places may know whole seconds only
    for key in ("runs/1/a", "runs/1/b/c", "runs/10/a", "other"):
        await blobs.put(key, key.encode())
    found = await entries(blobs)
    assert {key: entry.size for key, entry in found.items()} == {
        "runs/1/a": 8,
        "runs/1/b/c": 10,
        "runs/10/a": 9,
        "other": 5,
    }
    assert all(begun < entry.date_modified < datetime.now(UTC) + timedelta(seconds=2) for entry in found.values())
    assert (await entries(blobs, "runs/1")).keys() == {"runs/1/a", "runs/1/b/c"}
    assert (await entries(blobs, "runs/")).keys() == {"runs/1/a", "runs/1/b/c", "runs/10/a"}
    assert await entries(blobs, "run") == {}
    await blobs.delete_prefix("runs/1")
    assert (await entries(blobs)).keys() == {"runs/10/a", "other"}


async def test_thousands_of_keys_are_listed_and_deleted(blobs: Blobs) -> None:
    keys = {f"runs/{number % 7}/{number}" for number in range(2000)} | {"kept"}
    limit = anyio.CapacityLimiter(20)

    async def put(key: str) -> None:
        async with limit:
            await blobs.put(key, b"x")

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(put, key)
    listed = [entry.key async for entry in blobs.entries()]
    assert len(listed) == len(keys)
    assert set(listed) == keys
    await blobs.delete_prefix("runs")
    assert (await entries(blobs)).keys() == {"kept"}


async def test_a_listing_bears_what_comes_and_goes_meanwhile(blobs: Blobs) -> None:
    for number in range(20):
        await blobs.put(f"kept/{number}", b"x")
        await blobs.put(f"gone/{number}", b"x")
    seen = set()
    async for entry in blobs.entries():
        seen.add(entry.key)
        await blobs.delete_prefix("gone")
        await blobs.put(f"new/{len(seen)}", b"x")
    assert seen >= {f"kept/{number}" for number in range(20)}


async def test_puts_and_deletions_side_by_side_lose_nothing_else(blobs: Blobs) -> None:
    async def churn(name: str) -> None:
        for turn in range(30):
            await blobs.put(f"runs/{name}/{turn}", b"x")
            await blobs.delete_prefix(f"runs/{name}")

    async def keep() -> None:
        for turn in range(30):
            await blobs.put(f"runs/kept/{turn}", b"y")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(churn, "one")
        tasks.start_soon(churn, "two")
        tasks.start_soon(keep)
    assert [await blobs.get(f"runs/kept/{turn}") for turn in range(30)] == [b"y"] * 30


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../b", "a..b", "a//b", "a/", ".hidden", "a/.hidden"),
        *("A", "a b", "a\0b", "a\nb", "a\n", "ä", "a" * 300),
    ],
)
async def test_other_keys_are_refused(blobs: Blobs, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        await blobs.put(key, b"x")
    with pytest.raises(ValueError, match="no key"):
        await blobs.get(key)
    with pytest.raises(ValueError, match="no key"):
        await blobs.delete(key)
    with pytest.raises(ValueError, match="no key"):
        await anext(blobs.stream(key))
    if key != "a/":
        with pytest.raises(ValueError, match="no key"):
            await blobs.delete_prefix(key)
        if key:
            with pytest.raises(ValueError, match="no key"):
                await entries(blobs, key)


async def test_a_check_of_a_good_place_leaves_nothing(blobs: Blobs) -> None:
    await blobs.put(KEY, b"kept")
    await blobs.check()
    assert await blobs.get(KEY) == b"kept"
    assert (await entries(blobs)).keys() == {KEY}

"""What every adapter of the Blobs port must do."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.errors import NotFound
from treadle.ports import Blobs

pytestmark = pytest.mark.anyio

KEY = "runs/0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0001/trace.jsonl"


@pytest.fixture(params=["directory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    adapters = {"directory": lambda: DirectoryBlobs(tmp_path / "blobs")}
    return adapters[request.param]()


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(blobs: Blobs, key: str, chunk_bytes: int = 1 << 20) -> list[bytes]:
    return [chunk async for chunk in blobs.stream(key, chunk_bytes=chunk_bytes)]


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 9000], ids=["empty", "small", "large"])
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


async def test_a_check_of_a_good_place_leaves_nothing(blobs: Blobs) -> None:
    await blobs.put(KEY, b"kept")
    await blobs.check()
    assert await blobs.get(KEY) == b"kept"
    with pytest.raises(NotFound):
        await blobs.get("check")

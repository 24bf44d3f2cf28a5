"""What only the directory can get wrong: modes, leftovers, full disks."""

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.errors import ConfigurationError, Unavailable

pytestmark = pytest.mark.anyio


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def directories(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir())


def held_below(root: Path) -> list[str]:
    """What this process has open there."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own, and what others close meanwhile
            found.append(str(link.readlink()))
    return [each for each in found if f"{each}/".startswith(f"{root}/")]


async def test_only_the_owner_can_read_and_nothing_is_left_over(tmp_path: Path) -> None:
    root = tmp_path / "data" / "blobs"
    blobs = DirectoryBlobs(root)
    await blobs.put("a/b/c", b"x")
    assert files(root) == ["a/b/c"]
    assert stat.S_IMODE((root / "a/b/c").stat().st_mode) == 0o600
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    await blobs.put("a/d", b"x")
    await blobs.delete("a/b/c")
    assert directories(root) == [".unfinished", "a"]
    await blobs.delete_prefix("a")
    assert directories(root) == [".unfinished"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, number: int) -> None:
    failure = DirectoryBlobs(tmp_path)._failure(OSError(number, os.strerror(number)))
    assert isinstance(failure, Unavailable)  # there may be room again
    assert "no space left" in failure.message
    assert failure.hint is not None


#: A limit of the kernel's on the size of a file stands in for a full disk, which cannot be had without mounting one.
LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.errors import ConfigurationError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

async def pieces():
    for _ in range(3):
        yield b"x" * 600

async def main():
    for data in (b"x" * 2000, pieces()):
        try:
            await DirectoryBlobs(Path(sys.argv[1])).put("a/b", data)
        except ConfigurationError as error:
            print(error.message)

asyncio.run(main())
"""


async def test_a_write_that_fails_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with anyio.fail_after(60):
        done = await anyio.run_process([sys.executable, "-c", LIMITED, str(tmp_path)])
    assert done.stdout.count(b"File too large") == 2
    assert files(tmp_path) == []


async def test_a_place_that_cannot_be_written_fails_the_check(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(ConfigurationError, match="cannot be read or written"):
        await DirectoryBlobs(tmp_path / "file").check()


async def test_a_key_below_another_key_is_an_error_that_says_so(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("a", b"x")
    with pytest.raises(ConfigurationError):
        await blobs.put("a/b", b"y")
    assert await blobs.get("a") == b"x"


async def test_the_check_clears_what_a_killed_process_left_but_nothing_in_use(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    await blobs.check()
    left = tmp_path / ".unfinished" / "left-by-a-killed-process"
    left.write_bytes(b"half")
    with blobs._writing():
        await DirectoryBlobs(tmp_path).check()
        assert left.exists()
    await blobs.check()
    assert files(tmp_path) == []


async def test_a_task_cancelled_by_asyncio_itself_leaves_nothing(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.put("a", endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path) == []


async def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("a", b"x")  # the first call also starts a thread
    before = held_below(tmp_path)
    for _ in range(5):
        await blobs.put("a", b"x")
        await blobs.get("a")
        await blobs.check()
        await blobs.delete_prefix("b")
    assert held_below(tmp_path) == before

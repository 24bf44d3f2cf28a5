"""Bytes laid by: whole, bounded in memory, and said when the disk is full."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle.blobs.spool import MEMORY_BYTES, spooled
from treadle.domain.errors import Unavailable

pytestmark = pytest.mark.anyio


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    for number, size in enumerate(sizes):
        yield bytes([number]) * size


@pytest.mark.parametrize(
    ("sizes", "is_on_disk"),
    [((), False), ((0,), False), ((10, 20), False), ((MEMORY_BYTES,), True), ((MEMORY_BYTES - 1, 1, 5), True)],
)
async def test_all_of_it_comes_back(tmp_path: Path, sizes: tuple[int, ...], is_on_disk: bool) -> None:
    directory = tmp_path / "made" / "when needed"
    async with spooled(pieces(*sizes), directory) as file:
        assert file.read() == b"".join([piece async for piece in pieces(*sizes)])
        assert directory.exists() is is_on_disk
        assert not is_on_disk or list(directory.iterdir()) == []


async def test_a_full_disk_may_have_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: os.fdopen(os.open("/dev/full", os.O_RDWR), "wb"))
    with pytest.raises(Unavailable, match="no space left"):
        async with spooled(pieces(MEMORY_BYTES, MEMORY_BYTES), tmp_path):
            raise AssertionError("it was written")

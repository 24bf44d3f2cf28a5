"""Uploads that break off, and names that any disk takes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.deployment import Deployment

from treadle.domain.errors import Conflict
from treadle.services.files import MAX_NAME_BYTES, safe_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.png", "a.png"),
        ("a/", "file"),
        ("..", "file"),
        ("", "file"),
        ("-rf", "_rf"),
        (".env", ".env"),
        ("a\0b\nc\x1b[31m.txt", "abc[31m.txt"),
        ("\u202egnp.exe", "gnp.exe"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("half\ud800.txt", "half.txt"),
        ("  spaced  ", "spaced"),
        ("x" * 300 + ".tar.gz", "x" * 252 + ".gz"),
        ("ü" * 200, "ü" * 127),
        ("a." + "b" * 300, "a." + "b" * 253),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@given(st.text())
def test_a_name_is_always_one_that_a_disk_takes(name: str) -> None:
    found = safe_name(name)
    assert 0 < len(found.encode()) <= MAX_NAME_BYTES
    assert found not in {".", ".."}
    assert not set(found) & set("/\\\0\n")
    assert not found.startswith("-")
    assert safe_name(found) == found


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def broken() -> AsyncIterator[bytes]:
    yield b"a" * 100_000
    raise ConnectionResetError("the client left")


def kept(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.anyio
async def test_an_upload_that_breaks_off_leaves_nothing(here: Deployment, tmp_path: Path) -> None:
    principal = await here.services.identity.authenticate(here.admin.key)
    with pytest.raises(ConnectionResetError):
        await here.services.files.upload(principal, "a", None, broken())
    assert kept(tmp_path) == []
    assert await here.services.files.list(principal, limit=10) == ()


@pytest.mark.anyio
async def test_an_upload_that_the_store_refuses_leaves_nothing(here: Deployment, tmp_path: Path) -> None:
    principal = await here.services.identity.authenticate(here.admin.key)
    files = here.services.files
    stored = await files.upload(principal, "a", None, pieces(b"first"))
    files._new_uuid = lambda: stored.id  # the same id twice: the store refuses it
    with pytest.raises(Conflict):
        await files.upload(principal, "b", None, pieces(b"second"))

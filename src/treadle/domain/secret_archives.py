"""What is inside a compressed file, for the scan, within bounds: a bomb costs no more than an honest file. Pure."""

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

#: A larger file is not looked into.
MAX_ARCHIVE_BYTES = 16 << 20

#: What is looked at of all that is inside the files of one scan together, once it is unpacked.
MAX_UNPACKED_BYTES = 256 << 20

#: Members of one zip file that are looked into.
MAX_MEMBERS = 1_000

#: Files inside files inside files: so deep.
MAX_NESTED = 3

_PIECE_SIZE = 256 << 10
_LZMA_MEMORY_BYTES = 64 << 20


class _Decompressor(Protocol):
    """As the standard library's bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """zlib's, with the others' manners."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(0, max_length))


_STREAMS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b\x08": _Gunzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_BYTES),
}
_ZIP = b"PK\x03\x04"
_MAGICS = (*_STREAMS, _ZIP)


@dataclass(slots=True)
class Room:
    """What may still be unpacked."""

    bytes: int = MAX_UNPACKED_BYTES


def is_archive(head: bytes, size: int) -> bool:
    """By a file's first bytes and its size: whether to look into it."""
    return size <= MAX_ARCHIVE_BYTES and head.startswith(_MAGICS)


def members(data: bytes, room: Room) -> Iterator[tuple[str | None, Iterator[bytes]]]:
    """The names and the contents of what is in it, to be read in that order; no name for a single stream. What is
    damaged ends early."""
    if data.startswith(_ZIP):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for info in archive.infolist()[:MAX_MEMBERS]:
                    yield info.filename, _member(archive, info, room)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, EOFError):
            return
        return
    yield None, _streams(data, room)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: Room) -> Iterator[bytes]:
    try:
        with archive.open(info) as file:
            while room.bytes > 0 and (piece := file.read(min(_PIECE_SIZE, room.bytes))):
                room.bytes -= len(piece)
                yield piece
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
        EOFError,
    ):
        return  # encrypted, damaged, of a method that is not known


def _streams(data: bytes, room: Room) -> Iterator[bytes]:
    """One after another, as `gunzip` reads them."""
    for _ in range(MAX_MEMBERS):
        make = next((make for magic, make in _STREAMS.items() if data.startswith(magic)), None)
        if make is None:
            return
        decompressor = make()
        try:
            while room.bytes > 0 and not decompressor.eof:
                piece = decompressor.decompress(data, min(_PIECE_SIZE, room.bytes))
                data = b""
                if not piece and not decompressor.eof:
                    return
                room.bytes -= len(piece)
                yield piece
        except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
            return
        data = decompressor.unused_data

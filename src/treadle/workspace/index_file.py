"""Git's index, read and mended in place (format versions 2 and 3, as Git's documentation gives them).

Git takes a file that was written within the same second as the index for suspect and compares its content with every
command (the "racy" problem): right after a checkout that is every file of a small repository, for as long as the index
is not written anew. `settle` gives those files, and their entries, a time before the index's own, so that a look at the
times is enough; whatever is changed afterwards has a newer one.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct(">4sII")
_ENTRY = struct.Struct(">10I")  # ctime, ctime ns, mtime, mtime ns, dev, ino, mode, uid, gid, size
_TIMES = struct.Struct(">4I")
_EXTENDED = 0x4000
_NAME_LENGTH = 0x0FFF
_GITLINK = 0o160000
_VERSIONS = (2, 3)
_SHA1_BYTES = 20
_NANOSECONDS = 1_000_000_000

#: How long before the index was written a settled file says that it was, in seconds.
BACKDATED_SECONDS = 10


class Entry(NamedTuple):
    offset: int  # of the entry within the file
    mode: int
    mtime: int  # seconds
    id: bytes  # the object's, not in hexadecimal
    path: bytes


def entries(data: bytes, hash_bytes: int = 20) -> Iterator[Entry]:
    """The entries of an index. ValueError for another format."""
    signature, version, count = _HEADER.unpack_from(data)
    if signature != b"DIRC" or version not in _VERSIONS:
        raise ValueError("This index is of a format that is not known here.")
    offset = _HEADER.size
    for _ in range(count):
        fields = _ENTRY.unpack_from(data, offset)
        at = offset + _ENTRY.size + hash_bytes
        flags = data[at] << 8 | data[at + 1]
        start = at + (4 if flags & _EXTENDED else 2)
        length = flags & _NAME_LENGTH
        end = start + length if length < _NAME_LENGTH else data.index(0, start + length)
        yield Entry(offset, fields[6], fields[2], data[offset + _ENTRY.size : at], data[start:end])
        offset += (end - offset + 8) & ~7


def submodules(index: Path, hash_bytes: int = 20) -> dict[bytes, str]:
    """The submodules in an index: their paths, and the commits they are at."""
    found = entries(index.read_bytes(), hash_bytes)
    return {entry.path: entry.id.hex() for entry in found if entry.mode == _GITLINK}


def settle(index: Path, work_tree: Path, hash_bytes: int = 20) -> dict[bytes, str]:
    """Mends the index of a work tree that was just checked out and that nobody else touches yet. Returns what
    `submodules` does."""
    data = bytearray(index.read_bytes())
    written = index.stat().st_mtime_ns // _NANOSECONDS
    then = (written - BACKDATED_SECONDS) * _NANOSECONDS
    root = os.fsencode(work_tree) + b"/"
    found: dict[bytes, str] = {}
    for entry in entries(bytes(data), hash_bytes):
        if entry.mode == _GITLINK:
            found[entry.path] = entry.id.hex()
        elif entry.mtime >= written:
            _backdate(data, entry, root + entry.path, then)
    digest = hashlib.new("sha1" if hash_bytes == _SHA1_BYTES else "sha256", usedforsecurity=False)
    digest.update(memoryview(data)[:-hash_bytes])
    data[-hash_bytes:] = digest.digest()
    temporary = index.with_name("index.settled")
    temporary.write_bytes(data)
    temporary.replace(index)
    return found


def _backdate(data: bytearray, entry: Entry, path: bytes, then: int) -> None:
    try:
        os.utime(path, ns=(then, then), follow_symlinks=False)
        status = os.lstat(path)
    except OSError:
        return
    ctime, mtime = divmod(status.st_ctime_ns, _NANOSECONDS), divmod(status.st_mtime_ns, _NANOSECONDS)
    _TIMES.pack_into(data, entry.offset, ctime[0] & 0xFFFF_FFFF, ctime[1], mtime[0] & 0xFFFF_FFFF, mtime[1])

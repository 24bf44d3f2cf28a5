"""What staged changes add over the last commit is looked through for secrets: contents, the targets of links, names."""

import os
from collections.abc import Iterable, Mapping, Sequence

import anyio

from treadle.domain.secret_archives import MAX_ARCHIVE_BYTES, MAX_NESTED, Room, is_archive, members
from treadle.domain.secret_scan import MAX_FINDS, Find, Finding, Own, Scan, find_all, holds_own, known
from treadle.workspace.blobs import Piece, read_blobs
from treadle.workspace.git import Git
from treadle.workspace.staging import Change

#: Of a larger file its first half of this and its last are looked at.
MAX_SCANNED_BYTES = 64 << 20

#: Small files are looked at so many bytes at a time: a thread for each would cost more than the look.
_BATCH_SIZE = 1 << 20

_MASK = b"***"

#: The finds of a blob, each with the name of the member that it is in, where the blob is an archive.
_Finds = Sequence[tuple[str, Find]]


async def find_secrets(git: Git, changes: Sequence[Change], own: Own) -> Sequence[Finding]:
    """At most MAX_FINDS, the names first. What the old version of a file holds already is none. Raises GitError."""
    findings = await anyio.to_thread.run_sync(_in_names, [each.path for each in changes if each.is_new_path], own)
    contents = [change for change in changes if change.has_new_content]
    found = await _scan(git, (change.new_id for change in contents), own)
    suspects = [change for change in contents if found[change.new_id]]
    before = await _scan(git, (change.old_id for change in suspects if change.has_old_content), own)
    paths = await anyio.to_thread.run_sync(lambda: [shown(change.path, own) for change in suspects])
    for change, path in zip(suspects, paths, strict=True):
        held = {find.digest for _, find in before.get(change.old_id, ())}
        findings += (
            Finding(path + inside, find.line, find.kind)
            for inside, find in found[change.new_id]
            if find.digest not in held
        )
    return tuple(findings[:MAX_FINDS])


def shown(path: bytes, own: Own) -> str:
    """A path to tell of, without the secrets that it may spell itself."""
    for _, at, secret in known(path, 0, len(path)):
        place = path.find(secret, at)
        path = path[:place] + _MASK + path[place + len(secret) :]
    parts = [_MASK if holds_own(part, own) else part for part in path.split(b"/")]
    whole = b"/".join(parts)
    return (_MASK if holds_own(whole, own) else whole).decode(errors="replace")


def _in_names(paths: Sequence[bytes], own: Own) -> list[Finding]:
    return [Finding(shown(path, own), None, find.kind) for path in paths for find in find_all(path, own)]


async def _scan(git: Git, ids: Iterable[str], own: Own) -> Mapping[str, _Finds]:
    """By blob."""
    wanted = tuple(dict.fromkeys(ids))
    found: dict[str, _Finds] = {}
    room, scan, batch, size = Room(), None, list[Piece](), 0

    def look(pieces: Sequence[Piece], scan: "_BlobScan | None") -> "_BlobScan | None":
        for piece in pieces:
            if piece.at == 0 or scan is None:
                scan = _BlobScan(own, room, piece)
            scan.feed(piece)
            if piece.is_last:
                found[piece.blob] = scan.close()
        return scan

    async for piece in read_blobs(git, wanted):
        batch.append(piece)
        size += len(piece.data)
        if size >= _BATCH_SIZE:
            scan = await anyio.to_thread.run_sync(look, batch, scan)
            batch, size = [], 0
    await anyio.to_thread.run_sync(look, batch, scan)
    return found


class _BlobScan:
    def __init__(self, own: Own, room: Room, first: Piece) -> None:
        self._own = own
        self._room = room
        self._scan = Scan(own)
        self._kept: list[bytes] | None = [] if is_archive(first.data, first.size) else None

    def feed(self, piece: Piece) -> None:
        if self._kept is not None:
            self._kept.append(piece.data)
        end, half = piece.at + len(piece.data), MAX_SCANNED_BYTES // 2
        if piece.size > MAX_SCANNED_BYTES and half < end and piece.at < piece.size - half:
            before, behind = max(0, half - piece.at), max(0, end - (piece.size - half))
            self._scan.feed(piece.data[:before])
            self._scan.skip(len(piece.data) - before - behind)
            self._scan.feed(piece.data[len(piece.data) - behind :])
        else:
            self._scan.feed(piece.data)

    def close(self) -> _Finds:
        self._scan.close()
        inside = _inside(b"".join(self._kept), self._own, self._room, MAX_NESTED) if self._kept is not None else ()
        return (*(("", find) for find in self._scan.finds), *inside)


def _inside(archive: bytes, own: Own, room: Room, depth: int) -> list[tuple[str, Find]]:
    """The finds in the members of an archive, their names, and the archives that they are."""
    found: list[tuple[str, Find]] = []
    for name, contents in members(archive, room):
        raw = os.fsencode(name or "")
        inside = f"!{shown(raw, own)}" if name else ""
        found += ((inside, find) for find in find_all(raw, own))
        scan, kept = Scan(own), bytearray()
        for number, piece in enumerate(contents):
            scan.feed(piece)
            if kept or (number == 0 and depth > 1 and is_archive(piece, 0)):
                kept += piece[: MAX_ARCHIVE_BYTES + 1 - len(kept)]
        scan.close()
        found += ((inside, find) for find in scan.finds)
        if is_archive(bytes(kept[:16]), len(kept)):
            found += ((inside + deeper, find) for deeper, find in _inside(bytes(kept), own, room, depth - 1))
    return found

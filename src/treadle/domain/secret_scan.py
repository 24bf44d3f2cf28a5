"""Finds secrets in bytes that come piece by piece: keys of well-known formats, and what the caller knows as its own.
Pure.

What is looked at: the bytes; the same without NULs, which is what UTF-16 makes of a key; runs of hexadecimal digits,
for the caller's own secrets (whose other forms are the caller's matcher's business); what is inside gzip, bzip2, xz and
zip files, within bounds (`secret_archives`). A tar file shows its members as they are. What is encrypted, or encoded in
another way, or in a picture, is not found: an agent that wants to hide something can.

A find tells kind and place, and a hash to tell it from another one: never the secret.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from treadle.domain.secret_formats import FORMATS, LONGEST, Format

#: Whether a text holds one of the caller's own secrets, in whatever form.
Own = Callable[[str], bool]

OWN_KIND = "credential of this run"

#: More than this are not told of one scan: one is enough to refuse.
MAX_FINDS = 100

#: How much is looked at at once, and how much of it again with what follows: no secret is longer.
_WINDOW_SIZE = 256 << 10
OVERLAP_BYTES = 16 << 10
_BEHIND = 16

_HEX = re.compile(rb"[0-9A-Fa-f]{16,}")


@dataclass(frozen=True, slots=True)
class Find:
    """`line` from 1, None where nobody can tell; `offset` in what was looked at, in bytes; `digest`: of the secret, or
    of the line that holds one of the caller's own."""

    kind: str
    line: int | None
    offset: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """What is told of a find in a repository. `path` never spells the secret."""

    path: str
    line: int | None
    kind: str


class Scan:
    """Of one file. `finds` are complete after `close`."""

    def __init__(self, own: Own) -> None:
        self.finds: list[Find] = []
        self._own = own
        self._window = bytearray()
        self._begin = 0  # where the window begins in the file
        self._done = 0  # up to where in the window finds were told
        self._line: int | None = 1  # of the window's beginning
        self._seen: set[tuple[str, int | None, bytes]] = set()

    def feed(self, data: bytes) -> None:
        for at in range(0, len(data), _WINDOW_SIZE):
            self._window += data[at : at + _WINDOW_SIZE]
            if len(self._window) >= _WINDOW_SIZE + OVERLAP_BYTES:
                self._look(len(self._window) - OVERLAP_BYTES)

    def skip(self, size: int) -> None:
        """So many bytes are not looked at; the lines behind them have no number."""
        self.close()
        self._begin += len(self._window) + size
        self._window.clear()
        self._done, self._line = 0, None

    def close(self) -> None:
        self._look(len(self._window))

    def _look(self, end: int) -> None:
        """At the window, for what begins before `end`; that is then let go of."""
        if len(self.finds) < MAX_FINDS:
            window = bytes(self._window)
            self._look_at(window, end, "utf-8")
            if b"\0" in window:  # what is left of UTF-16 are Unicode's numbers
                self._look_at(window.replace(b"\0", b""), len(window), "latin-1")
        let_go = max(0, end - _BEHIND)
        if self._line is not None:
            self._line += self._window.count(b"\n", 0, let_go)
        del self._window[:let_go]
        self._begin += let_go
        self._done = end - let_go

    def _look_at(self, text: bytes, end: int, encoding: str) -> None:
        for kind, at, secret in known(text, self._done, end):
            self._tell(kind, text, at, secret)
        for at, line in _own_lines(text, self._own, encoding):
            self._tell(OWN_KIND, text, at, line)

    def _tell(self, kind: str, text: bytes, at: int, secret: bytes) -> None:
        line = self._line + text.count(b"\n", 0, at) if self._line is not None else None
        digest = hashlib.blake2b(secret, digest_size=16).digest()
        if len(self.finds) < MAX_FINDS and (kind, line, digest) not in self._seen:
            self._seen.add((kind, line, digest))
            self.finds.append(Find(kind, line, self._begin + at, digest))


def known(text: bytes, begin: int, end: int) -> Iterator[tuple[str, int, bytes]]:
    """Kind, place and bytes of each secret of a well-known format that begins between the two places."""
    for each, match, secret in _matches(text, begin, end):
        yield each.kind, match.start(), secret


def known_spans(text: bytes) -> list[tuple[int, int]]:
    """Where secrets of well-known formats stand, ascending; they may overlap. What stands inside a key in lines goes
    with it, so that many without an end take no longer than one."""
    found = list[tuple[int, int]]()
    begin = end = 0  # of the last key in lines
    for each, match, _ in _matches(text, 0, len(text)):
        if begin <= match.start() and match.end() <= end:
            continue
        found.append(each.span(match))
        if each.is_block:
            begin, end = found[-1]
    return sorted(found)


def _matches(text: bytes, begin: int, end: int) -> Iterator[tuple[Format, re.Match[bytes], bytes]]:
    for each in FORMATS:
        if any(needle in text for needle in each.needles):
            for match in each.pattern.finditer(text, max(0, begin - _BEHIND), min(len(text), end + LONGEST)):
                if begin <= match.start() < end and (secret := each.secret(match)) is not None:
                    yield each, match, secret


def find_all(data: bytes, own: Own) -> list[Find]:
    """In one piece of bytes, such as a path."""
    scan = Scan(own)
    scan.feed(data)
    scan.close()
    return scan.finds


def holds_own(data: bytes, own: Own, encoding: str = "utf-8") -> bool:
    """Whether one of the caller's own secrets is in it, as it is or in hexadecimal."""
    return own(data.decode(encoding, errors="replace")) or any(own(text) for text in _unhexed(data))


def _own_lines(text: bytes, own: Own, encoding: str) -> Iterator[tuple[int, bytes]]:
    """Where the lines are that hold one of the caller's own secrets; the whole, if it takes more than one line."""
    if not holds_own(text, own, encoding):
        return
    at, is_found = 0, False
    for line in text.split(b"\n"):
        if holds_own(line, own, encoding):
            is_found = True
            yield at, line.strip()
        at += len(line) + 1
    if not is_found:
        yield 0, text


def _unhexed(data: bytes) -> Iterator[str]:
    """What the runs of hexadecimal digits say, read from the first digit and from the second."""
    runs = [match[0] for match in _HEX.finditer(data)]
    for shift in (0, 1) if runs else ():
        even = (run[shift : len(run) - (len(run) - shift) % 2] for run in runs)
        yield "\n".join(bytes.fromhex(run.decode()).decode(errors="replace") for run in even)

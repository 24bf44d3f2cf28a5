"""Takes secrets out of a patch that is kept, so that it still applies. Pure.

Only what the patch adds is masked: what it takes away, or shows around it, is committed already, and has to be found
where the patch is applied. A binary file that holds a secret is left out whole.
"""

import base64
import re
import zlib
from collections.abc import Callable, Iterator

from treadle.domain.secret_scan import holds_own

#: What is unpacked of a binary file to look at it.
MAX_UNPACKED_BYTES = 64 << 20

_BEGIN = re.compile(rb"^(?=diff --git )", re.MULTILINE)
_BINARY = re.compile(rb"^GIT binary patch$", re.MULTILINE)
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_LITERAL = re.compile(rb"^(?:literal|delta) \d+\n((?:[A-Za-z][!-~]+\n)+)", re.MULTILINE)
_LETTERS = 26


def masked(patch: bytes, mask: Callable[[str], str]) -> bytes:
    """`patch`: of `git diff --binary`. `mask`: gives a text back without its secrets, and the same if it has none."""

    def own(text: str) -> bool:
        return mask(text) != text

    return b"".join(
        _section(section, mask) for section in _BEGIN.split(patch) if not _is_binary_with_secret(section, own)
    )


def _is_binary_with_secret(section: bytes, own: Callable[[str], bool]) -> bool:
    if not _BINARY.search(section):
        return False
    return any(holds_own(content, own) or holds_own(content.replace(b"\0", b""), own) for content in _contents(section))


def _contents(section: bytes) -> Iterator[bytes]:
    for match in _LITERAL.finditer(section):
        packed = b"".join(_line(line) for line in match[1].splitlines())
        try:
            yield zlib.decompressobj().decompress(packed, MAX_UNPACKED_BYTES)
        except zlib.error:
            continue


def _line(line: bytes) -> bytes:
    """A line of Git's base 85: a letter for its length, then five characters for each four bytes."""
    letter = line[0]
    length = letter - ord("A") + 1 if letter <= ord("Z") else letter - ord("a") + 1 + _LETTERS
    try:
        return base64.b85decode(line[1:])[:length]
    except ValueError:
        return b""


def _section(section: bytes, mask: Callable[[str], str]) -> bytes:
    text = section.decode(errors="surrogateescape")
    if mask(text) == text or _BINARY.search(section):
        return section
    removed = added = 0  # lines that the hunk still has
    lines: list[str] = []
    for line in text.split("\n"):
        if removed or added:
            kind = line[:1]
            removed -= kind in {"-", " "}
            added -= kind in {"+", " "}
            lines.append("+" + mask(line[1:]) if kind == "+" else line)
            continue
        if match := _HUNK.match(line.encode(errors="surrogateescape")):
            removed, added = int(match[1] or 1), int(match[2] or 1)
            lines.append(line)
        else:
            lines.append(mask(line))  # names: the same in each of their places
    return "\n".join(lines).encode(errors="surrogateescape")

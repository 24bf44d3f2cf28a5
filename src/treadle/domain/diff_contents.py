"""What a diff alone does not hold, kept beside it: the text around its hunks, and the pictures that changed.

One line of JSON says what follows, then the bytes follow, one content behind the other. The line names the diff that
they belong to by the SHA-256 of its JSON, since one may be replaced before the other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypedDict, cast

from treadle.domain.raw_diff import MalformedDiffError, Section

#: The bytes of a text or a picture that are kept beside a diff, and of all together.
MAX_TEXT_BYTES, MAX_PICTURE_BYTES, MAX_CONTENTS_BYTES = 256 << 10, 1 << 20, 8 << 20

#: Contents of more files are not asked for.
MAX_FILES = 1000

#: What a browser shows as a picture, by the ending of the name. SVG is text, and shown as such.
PICTURES: Mapping[str, str] = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".bmp": "image/bmp",
}

_REGULAR = ("100644", "100755")
_HEADER_BYTES = 1 << 20


class Side(StrEnum):
    OLD = "old"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob that is worth keeping, of the file at that place of the diff."""

    at: int
    side: Side
    blob: str
    is_picture: bool

    @property
    def max_bytes(self) -> int:
        return MAX_PICTURE_BYTES if self.is_picture else MAX_TEXT_BYTES


class Bytes(Protocol):
    def __getitem__(self, which: slice, /) -> bytes: ...


class _Piece(TypedDict):
    at: int
    side: str
    size: int


class _Header(TypedDict):
    diff: str
    contents: Sequence[_Piece]


def diff_name(step: int | None) -> str:
    """The artifact with the structured diff of a run, or of one step."""
    return "diff.json" if step is None else f"step-{step}.diff.json"


def contents_name(step: int | None) -> str:
    """The artifact with what is kept beside that."""
    return "diff.contents" if step is None else f"step-{step}.diff.contents"


def picture_type(path: str) -> str | None:
    """The media type of a picture of that name."""
    return next((kind for ending, kind in PICTURES.items() if path.lower().endswith(ending)), None)


def wanted(sections: Sequence[Section]) -> Sequence[Wanted]:
    """What to keep of a diff's files: the new text of changed ones, both sides of pictures. Files that are new or gone
    are in the diff with every line."""
    found: list[Wanted] = []
    for at, section in enumerate(sections):
        if len(found) >= MAX_FILES:
            break
        if picture_type(section.path.decode("latin-1")) is not None:
            if section.old_mode in _REGULAR and not section.has_same_blob:
                found.append(Wanted(at, Side.OLD, section.old_id, is_picture=True))
            if section.new_mode in _REGULAR:
                found.append(Wanted(at, Side.NEW, section.new_id, is_picture=True))
        elif section.status in "MR" and section.new_mode in _REGULAR and not section.has_same_blob:
            found.append(Wanted(at, Side.NEW, section.new_id, is_picture=False))
    return found


def pack(digest: str, contents: Sequence[tuple[Wanted, bytes]]) -> bytes:
    """As one artifact."""
    pieces: list[_Piece] = [{"at": each.at, "side": each.side, "size": len(data)} for each, data in contents]
    header: _Header = {"diff": digest, "contents": pieces}
    return b"".join((json.dumps(header, separators=(",", ":")).encode(), b"\n", *(data for _, data in contents)))


def unpack(data: Bytes) -> tuple[str, Mapping[tuple[int, Side], slice]]:
    """The SHA-256 of the diff that it belongs to, and where each content is. Raises MalformedDiffError."""
    try:
        line, end, _ = data[slice(0, _HEADER_BYTES)].partition(b"\n")
        header = cast("_Header", json.loads(line))
        places: dict[tuple[int, Side], slice] = {}
        start = len(line) + len(end)
        for piece in header["contents"]:
            places[piece["at"], Side(piece["side"])] = slice(start, start + piece["size"])
            start += piece["size"]
        return header["diff"], places
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedDiffError(f"These are not the contents beside a diff: {error!r}.") from error

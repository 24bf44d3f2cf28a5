"""Text from models and repositories, made safe to show: no escape sequence, no hidden turn of direction, no line of its
own making reaches the terminal."""

import re
import unicodedata

#: Whatever moves a cursor, colours, rings, hides or turns around: the C0 controls except tab and line feed, DEL, the
#: C1 controls, the invisible format characters (joiners of emoji and scripts excepted), and lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)

#: Escape sequences of terminals, whole: colours in a tool's output say nothing in a summary.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI
    r"|(?:\x1b[\]P^_X]|[\x9d\x90\x9e\x9f\x98])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, PM, APC, SOS
    r"|\x1b[ -/]*[0-~]"
)

_ELLIPSIS = "…"


def neutral(text: str) -> str:
    """`text` with every unsafe character written out as its code; tabs and line feeds stay."""
    return _UNSAFE.sub(_written_out, text)


def one_line(text: str, limit: int | None = None) -> str:
    """`text` on one line: without escape sequences, white space drawn together, the rest `neutral`, cut to `limit`
    terminal columns."""
    # A text may be megabytes long; what is far beyond the limit need not be looked at.
    if limit is not None and len(text) > limit * 8 + 4096:
        text = text[: limit * 8 + 4096]
    return cut(neutral(" ".join(_SEQUENCE.sub("", text).split())), limit)


def cut(text: str, limit: int | None) -> str:
    """`text` in at most `limit` terminal columns, with an ellipsis where something is missing."""
    if limit is None or columns(text) <= limit:
        return text
    room, kept = limit - 1, 0
    for index, character in enumerate(text):
        room -= columns(character)
        if room < 0:
            break
        kept = index + 1
    return text[:kept].rstrip() + _ELLIPSIS


def columns(text: str) -> int:
    """How many columns a terminal gives it."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(character) for character in text)


def pad(text: str, width: int) -> str:
    """`text`, filled up with spaces to `width` columns."""
    return text + " " * max(0, width - columns(text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= 0xFF:  # noqa: PLR2004 - the last of Latin-1
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the last of the first plane

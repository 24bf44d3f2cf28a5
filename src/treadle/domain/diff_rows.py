"""Lines of a hunk as rows of JSON: the loops that every line of a diff goes through.

They are measured, about 0.3 microseconds a line, so that git on one core seldom waits for its reader on another;
`python -m benchmarks.diff` tells.

Text is worked on as Latin-1, one character a byte, because JSON escapes touch ASCII alone: UTF-8 passes through as it
is, and the text of a file that is not UTF-8 becomes so in one step at the end.
"""

from dataclasses import dataclass
from json.encoder import encode_basestring

#: How git begins the line that says that the one before has no newline at its end; escaped.
MARK = "\\\\ "

# What JSON text may not hold as it is; the backslash first, for the others bring their own.
_ESCAPES = {ord("\\"): r"\\"} | {
    code: encode_basestring(chr(code))[1:-1] for code in (*range(0x20), ord('"')) if code != ord("\n")
}
_PLAIN = bytes(code for code in range(0x100) if code not in _ESCAPES)


@dataclass(frozen=True, slots=True)
class Rows:
    """The JSON of each line, and how many of them are in the old and in the new file."""

    json: list[str]
    old: int
    new: int


def escaped(piece: bytes) -> str:
    """As text in a JSON string, line feeds excepted."""
    text = piece.decode("latin-1")
    special = piece.translate(None, _PLAIN)
    if special:
        for code, escape in _ESCAPES.items():
            if code in special:
                text = text.replace(chr(code), escape)
    return text


def marked(row: str) -> str:
    """The row of a line without a newline at its end."""
    return row.removesuffix("false}") + "true}"


def added(text: str, new: int) -> Rows:
    """Lines of a hunk that only adds, each with its line end before it; the number is that of the first."""
    lines = text[2:].split("\n+")
    if text[1:2] != "+" or len(lines) != text.count("\n"):  # the last line has a mark, or this is no good
        return mixed(text, 0, new)
    rows = [
        f'{{"type":"Added","content":"{line}","oldLine":null,"newLine":{number},"noNewlineAtEnd":false}}'
        for number, line in enumerate(lines, new)
    ]
    return Rows(rows, 0, len(rows))


def removed(text: str, old: int) -> Rows:
    """Lines of a hunk that only removes."""
    lines = text[2:].split("\n-")
    if text[1:2] != "-" or len(lines) != text.count("\n"):
        return mixed(text, old, 0)
    rows = [
        f'{{"type":"Removed","content":"{line}","oldLine":{number},"newLine":null,"noNewlineAtEnd":false}}'
        for number, line in enumerate(lines, old)
    ]
    return Rows(rows, len(rows), 0)


def mixed(text: str, old: int, new: int) -> Rows:
    """Lines of any hunk. Raises ValueError with what is there that should not be."""
    rows: list[str] = []
    add, first_old, first_new = rows.append, old, new
    lines = text.split("\n")
    del lines[0]  # what is before the first line end: nothing
    try:
        for line in lines:
            match line[0]:
                case "+":
                    add(
                        f'{{"type":"Added","content":"{line[1:]}",'
                        f'"oldLine":null,"newLine":{new},"noNewlineAtEnd":false}}'
                    )
                    new += 1
                case " ":
                    add(
                        f'{{"type":"Context","content":"{line[1:]}",'
                        f'"oldLine":{old},"newLine":{new},"noNewlineAtEnd":false}}'
                    )
                    old += 1
                    new += 1
                case "-":
                    add(
                        f'{{"type":"Removed","content":"{line[1:]}",'
                        f'"oldLine":{old},"newLine":null,"noNewlineAtEnd":false}}'
                    )
                    old += 1
                # Of the line before, which is always in the same piece and has no other one.
                case "\\" if line.startswith(MARK) and rows[-1].endswith("false}"):
                    rows[-1] = marked(rows[-1])
                case _:
                    raise ValueError(f"a line that git does not write, {line[:120]!r},")
    except IndexError:
        raise ValueError("an empty line, or a mark without its line,") from None
    return Rows(rows, old - first_old, new - first_new)

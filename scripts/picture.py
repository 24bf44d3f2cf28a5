"""Draws docs/images/demo.svg: what `treadle demo` shows on a terminal, from a real run of it.

.venv/bin/python scripts/picture.py
"""  # noqa: INP001  # a script, not a package

import os
import pty
import re
import struct
import sys
import termios
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 96, 60

#: The first line not to show: the rest of the patch is more of the same.
REST = re.compile(r"^diff --git a/tests/")

TARGET = Path(__file__).parents[1] / "docs/images/demo.svg"
TREADLE = Path(sys.executable).with_name("treadle")

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|[\r\n]|[^\x1b\r\n]+")

#: rich's own frame, without the fonts that it would load from elsewhere.
FRAME = """<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def recorded() -> str:
    """What the demonstration writes to a terminal of that size, escapes and all."""
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
        os.execve(TREADLE, ["treadle", "demo"], environment)  # noqa: S606 - no shell is the point
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    said = bytearray()
    try:
        while chunk := os.read(terminal, 1 << 16):
            said += chunk
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(terminal)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise SystemExit(said.decode(errors="replace"))
    return said.decode()


def settled(said: str) -> list[str]:
    """The lines as they stay on the screen, colours kept: the little of a terminal that rich asks for."""
    lines, row, column, style = [""], 0, 0, ""
    for token in _TOKEN.finditer(said):
        argument, command = token[1], token[2]
        if token[0] == "\r":
            column = 0
        elif token[0] == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif command == "A":
            row = max(0, row - int(argument or 1))
        elif command == "K":
            lines[row] = ""
        elif command == "m":
            style = token[0]
            lines[row] += style
        elif command is None:
            lines[row] = (style if column == 0 else lines[row]) + token[0]
            column += len(token[0])
    return lines


def main() -> None:
    """Writes the picture."""
    lines = [f"$ {TREADLE.name} demo", *settled(recorded())]
    end = next(at for at, line in enumerate(lines) if REST.match(Text.from_ansi(line).plain))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere, record=True, width=COLUMNS + 2, force_terminal=True, color_system="truecolor")
        for line in lines[:end]:
            console.print(Text.from_ansi(line), soft_wrap=False, overflow="crop", no_wrap=True)
        TARGET.write_text(console.export_svg(title="treadle", code_format=FRAME, unique_id="demo"), encoding="utf-8")


if __name__ == "__main__":
    main()

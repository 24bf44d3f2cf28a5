"""The installed command `treadle`, as a user runs it: with pipes, or on a terminal.

cli = Cli(tmp_path, API_KEY="…")
cli.run("list").stdout
with cli.terminal("demo") as terminal:
    terminal.read_until("Running")
    terminal.press(CTRL_C)
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TREADLE = Path(sys.executable).with_name("treadle")

#: How long a test waits for something that should take seconds at most.
PATIENCE_SECONDS = 120.0

CTRL_C = b"\x03"

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What it printed, as one JSON value; tests assert on every field they use."""
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table."""
        return [line.split("\t") for line in self.stdout.splitlines()]


class Cli:
    """`settings` are TREADLE_ names without the prefix. Nothing of this machine's user is seen or touched."""

    def __init__(self, folder: Path, /, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.environment: dict[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(self.temporary),
            "TREADLE_DATA_DIR": str(self.data),
            **{f"TREADLE_{name}": value for name, value in settings.items()},
        }

    def run(self, *arguments: str | Path, code: int = 0, extra: Mapping[str, str] | None = None) -> Done:
        """Fails unless it ends with `code`, and whenever it shows a traceback."""
        done = subprocess.run(
            [str(TREADLE), *map(str, arguments)],
            env={**self.environment, **(extra or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Started, its output in pipes; to be ended by the test."""
        return subprocess.Popen(
            [str(TREADLE), *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    @contextmanager
    def terminal(
        self, *arguments: str | Path, columns: int = 100, rows: int = 30, kind: str = "xterm-256color"
    ) -> Iterator["Terminal"]:
        """Runs it on a terminal of its own. On leaving it has ended, if need be by SIGKILL."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        try:
            process = subprocess.Popen(
                # As the leader of a session with this terminal, so that Ctrl-C becomes a signal.
                ["setsid", "--ctty", str(TREADLE), *map(str, arguments)],
                env={**self.environment, "TERM": kind, "LANG": "C.UTF-8"},
                cwd=self.folder,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
            )
        finally:
            os.close(theirs)
        terminal = Terminal(process, ours)
        try:
            yield terminal
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE_SECONDS)
            os.close(ours)


class Terminal:
    """What a command wrote to its terminal, and keys for it."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self._fd = fd
        self._read = b""

    @property
    def raw(self) -> str:
        """Everything so far, escape sequences too."""
        return self._read.decode(errors="replace").replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """Everything so far, without escape sequences."""
        return _SEQUENCE.sub("", self.raw)

    @property
    def screen(self) -> list[str]:
        """The lines as they stand at the end, of a program that only goes up, clears lines and writes them anew."""
        lines, at = [""], 0
        for piece in re.split(r"(\x1b\[[0-?]*[ -/]*[@-~]|\r|\n)", self.raw):
            if piece == "\n":
                at += 1
                lines += [""] * (at + 1 - len(lines))
            elif piece == "\x1b[2K":
                lines[at] = ""
            elif piece == "\x1b[1A":
                at -= 1
            elif not piece.startswith(("\x1b", "\r")):
                lines[at] += piece
        return [line.rstrip() for line in lines]

    def read_until(self, text: str) -> None:
        """Until `text` has been written, escape sequences aside."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            is_over = self.process.poll() is not None  # asked first: what it wrote before is to be read then
            assert self._receive(0.2) or not is_over, self.text

    def press(self, key: bytes) -> None:
        os.write(self._fd, key)

    def end(self) -> int:
        """Reads to the end of the command; its exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text
            self._receive(0.2)
        while self._receive(0):
            pass
        return self.process.returncode

    def _receive(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._fd], [], [], seconds)
        if not readable:
            return False
        try:
            chunk = os.read(self._fd, 65_536)
        except OSError:  # the other end is closed
            time.sleep(min(seconds, 0.02))
            return False
        self._read += chunk
        return bool(chunk)

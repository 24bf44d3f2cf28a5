"""Real git over pairs of trees, without a work tree: quick enough for a property test."""

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from treadle.domain.diff import DIFF_ARGUMENTS, NUMSTAT_ARGUMENTS, DiffEncoder, path_batches

TIMEOUT_SECONDS = 30

#: Path -> mode and content; that of a submodule (`160000`) is `Subproject commit <id>` and a line end, as in a diff.
Files = Mapping[bytes, tuple[str, bytes]]


class TreeRepository:
    """A bare repository that holds an old and a new tree."""

    def __init__(self, path: Path, *, object_format: str = "sha1") -> None:
        self.path = path
        self._environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        path.mkdir()
        self.git("init", "-q", "--bare", f"--object-format={object_format}", ".")
        self.git("config", "core.fsync", "none")

    def git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["git", "-C", str(self.path), *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, check=False, timeout=TIMEOUT_SECONDS, env=self._environment
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def hold(self, old: Files, new: Files) -> None:
        stream = b"".join([*_commit(b"old", old), *_commit(b"new", new)])
        self.git("fast-import", "--quiet", "--force", stdin=stream)

    def diff(self, *overrides: str) -> bytes:
        """What git writes; `overrides` come after `DIFF_ARGUMENTS`."""
        return self.git(*DIFF_ARGUMENTS, *overrides, "old", "new")

    def numstat(self, paths: Iterable[bytes]) -> bytes:
        return b"".join(self.git(*NUMSTAT_ARGUMENTS, "old", "new", "--", *batch) for batch in path_batches(paths))

    def encode(self, *overrides: str, chunks: Iterable[int] = ()) -> bytes:
        """The JSON, fed in chunks of these sizes and then the rest at once."""
        encoder = DiffEncoder()
        written = b""
        for chunk in cut(self.diff(*overrides), chunks):
            written += encoder.feed(chunk)
            if encoder.unsettled:
                encoder.settle(self.numstat(encoder.unsettled))
        return written + encoder.close()


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data in chunks of these sizes and then the rest."""
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


def _commit(branch: bytes, files: Files) -> Iterator[bytes]:
    yield b"commit refs/heads/%b\ncommitter nobody <nobody@example.org> 0 +0000\ndata 0\n" % branch
    yield b"deleteall\n"
    for path, (mode, content) in files.items():
        name = '"' + "".join(f"\\{byte:03o}" for byte in path) + '"'
        if mode == "160000":
            yield f"M {mode} {content.split()[-1].decode()} {name}\n".encode()
        else:
            yield f"M {mode} inline {name}\ndata {len(content)}\n".encode() + content + b"\n"

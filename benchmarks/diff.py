"""(b) The structured diff with its JSON beside `git diff` alone, on patches of 50 MB.

Each runs in a process of its own that starts git and reads its pipe: one throws the patch away, the other encodes it
and throws the JSON away. The limits are the project's; they are printed beside the figures, not asserted.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Row, ratio, scratch
from treadle.domain.diff import DIFF_ARGUMENTS, DiffEncoder

ROUNDS = 5
TIME_LIMIT = 1.3
MEMORY_LIMIT = 5.0

_PIPE_BYTES = 1 << 20  # with the usual 64 KiB the two processes take turns instead of working side by side
_TIMEOUT_SECONDS = 300
_WORDS = [
    "alpha",
    "beta",
    "class",
    "count",
    "def",
    "error",
    "for",
    "import",
    "index",
    "print",
    "result",
    "return",
    "self",
    "total",
    "value",
    "while",
]

Tree = dict[str, bytes]


def rows() -> Iterator[Row]:
    """For each case: MB of patch and JSON, seconds of git alone and with the encoder, their ratio, and the peak memory
    of the encoding process as a multiple of the patch.
    """
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as directory:
        for name, make in _CASES.items():
            repository = Path(directory, name)
            _import(repository, *make())
            plain: list[float] = []
            encoded: list[dict[str, float]] = []
            for _ in range(ROUNDS):
                plain.append(_measure("plain", repository)["seconds"])
                encoded.append(_measure("encode", repository))
            patch, taken = encoded[0]["patch"], [result["seconds"] for result in encoded]
            peak = max(result["peak"] for result in encoded)
            yield Row(f"{name}: patch", patch / 1e6, "MB")
            yield Row(f"{name}: JSON", encoded[0]["json"] / 1e6, "MB")
            yield Row(f"{name}: git diff alone", statistics.median(plain), "s")
            yield Row(f"{name}: with its JSON", statistics.median(taken), "s")
            yield Row(f"{name}: ratio", ratio(taken, plain), limit=f"at most {TIME_LIMIT}")
            yield Row(f"{name}: peak memory to the patch", peak / patch, limit=f"at most {MEMORY_LIMIT}")


def _pool(words: Sequence[str]) -> tuple[random.Random, list[bytes]]:
    chance = random.Random(1)
    texts = (" ".join(chance.choices(words, k=chance.randint(2, 9))) for _ in range(20_000))
    return chance, [f"{' ' * chance.randrange(13)}{text}\n".encode() for text in texts]


def _edited(lines: Sequence[bytes], chance: random.Random, share: float) -> bytes:
    return b"".join(b"changed " + line if chance.random() < share else line for line in lines)


def _many() -> tuple[Tree, Tree]:
    """A tenth of the lines of many files."""
    chance, pool = _pool(_WORDS)
    old = {f"d{n % 50}/f{n}.py": chance.choices(pool, k=400) for n in range(3_600)}
    return (
        {path: b"".join(lines) for path, lines in old.items()},
        {path: _edited(lines, chance, 0.1) for path, lines in old.items()},
    )


def _new() -> tuple[Tree, Tree]:
    """Many new files: git has next to nothing to compare."""
    chance, pool = _pool(_WORDS)
    return {}, {f"d{n % 50}/f{n}.py": b"".join(chance.choices(pool, k=450)) for n in range(2_700)}


def _one(words: Sequence[str] = _WORDS) -> tuple[Tree, Tree]:
    """Two fifths of the lines of one file."""
    chance, pool = _pool(words)
    lines = chance.choices(pool, k=860_000)
    return {"large.txt": b"".join(lines)}, {"large.txt": _edited(lines, chance, 0.4)}


def _unicode() -> tuple[Tree, Tree]:
    """The same, not ASCII: its encoding is not known before its end."""
    return _one([*_WORDS, "größe", "naïve"])


def _line() -> tuple[Tree, Tree]:
    """One line, as of minified code."""
    chance, pool = _pool(_WORDS)
    line = b"".join(chance.choices(pool, k=650_000)).replace(b"\n", b";")
    return {"minified.js": line}, {"minified.js": line + b"\n"}


_CASES: dict[str, Callable[[], tuple[Tree, Tree]]] = {
    "many": _many,
    "new": _new,
    "one": _one,
    "unicode": _unicode,
    "line": _line,
}


def _import(repository: Path, old: Tree, new: Tree) -> None:
    """A bare repository with the two trees as the branches `old` and `new`."""
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True, timeout=_TIMEOUT_SECONDS)
    stream = b"".join([*_commit("old", old), *_commit("new", new)])
    command = ["git", "-C", str(repository), "fast-import", "--quiet"]
    subprocess.run(command, input=stream, check=True, timeout=_TIMEOUT_SECONDS)


def _commit(branch: str, tree: Tree) -> Iterator[bytes]:
    yield f"commit refs/heads/{branch}\ncommitter nobody <nobody@example.org> 0 +0000\ndata 0\n".encode()
    for path, content in tree.items():
        yield f"M 100644 inline {path}\ndata {len(content)}\n".encode()
        yield content + b"\n"


def _measure(what: str, repository: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.diff", what, str(repository)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_SECONDS)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _plain(repository: str) -> dict[str, float]:
    start = time.perf_counter()
    for _ in _output(["git", "-C", repository, "diff", "old", "new"]):
        pass
    return {"seconds": time.perf_counter() - start}


def _encode(repository: str) -> dict[str, float]:
    start = time.perf_counter()
    encoder = DiffEncoder()
    patch = text = 0
    for chunk in _output(["git", "-C", repository, *DIFF_ARGUMENTS, "old", "new"]):
        patch += len(chunk)
        for piece in encoder.feed_pieces(chunk):
            text += len(piece)
    for piece in encoder.close_pieces():
        text += len(piece)
    return {"seconds": time.perf_counter() - start, "patch": patch, "json": text, "peak": _peak_bytes()}


def _peak_bytes() -> int:
    """Of this process alone: `ru_maxrss` would begin with what its parent held when it forked."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the peak memory")


def _output(command: list[str]) -> Iterator[bytes]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, pipesize=_PIPE_BYTES) as git:
        if git.stdout is None:
            raise RuntimeError("git was started without a pipe")
        while chunk := git.stdout.read(_PIPE_BYTES):
            yield chunk
    if git.returncode:
        raise RuntimeError(f"git ended with {git.returncode}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["plain", repository]:
            print(json.dumps(_plain(repository)))
        case ["encode", repository]:
            print(json.dumps(_encode(repository)))
        case wrong:
            sys.exit(f"plain or encode, and a repository, not {wrong}; `python -m benchmarks diff` takes the figures")

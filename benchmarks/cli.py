"""(f) `treadle --help` beside `python -c pass`."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Row, in_turns, ratio


def rows() -> Iterator[Row]:
    treadle = str(Path(sys.executable).with_name("treadle"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import typer": [sys.executable, "-c", "import typer"],
        "treadle --help": [treadle, "--help"],
    }
    taken = in_turns(10, {name: partial(_run, argv) for name, argv in commands.items()})
    for name, times in taken.items():
        yield Row(name, statistics.median(times) * 1000, "ms")
    yield Row("ratio to python -c pass", ratio(taken["treadle --help"], taken["python -c pass"]))


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, capture_output=True)

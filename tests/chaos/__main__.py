"""`python -m tests.chaos`: see docs/how-to/chaos.md. Exit code 0 when everything held, 1 when not."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from tests.chaos.scene import Chaos, Size
from tests.support.postgres import NoPostgres
from tests.support.rabbit import NoRabbit

#: Longer than this nobody waits for; the schedule stays as dense, whatever the time.
MAX_MINUTES = 60.0
MAX_RUNS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Everything breaks, and no run is lost.")
    parser.add_argument("--seed", type=int, help="repeats that seed's runs and incidents (default: a new one)")
    parser.add_argument("--minutes", type=float, default=4.0, help="of trouble (default: 4)")
    parser.add_argument("--runs", type=int, default=60, help="of three steps each (default: 60)")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--apis", type=int, default=2)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between incidents, about (default: 3)")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds for what is left afterwards")
    parser.add_argument("--no-broker", action="store_true", help="the database alone wakes workers")
    parser.add_argument("--keep", action="store_true", help="keep the logs also when everything held")
    given = parser.parse_args()
    if not (0 < given.minutes <= MAX_MINUTES and 0 < given.runs <= MAX_RUNS and given.every > 0):
        parser.error(f"at most {MAX_MINUTES:g} minutes and {MAX_RUNS} runs, and more than none")
    seed = given.seed if given.seed is not None else random.randrange(1_000_000)
    size = Size(
        runs=given.runs,
        workers=given.workers,
        apis=given.apis,
        repositories=4,
        seconds=given.minutes * 60,
        every=given.every,
        patience=given.patience,
        has_broker=not given.no_broker,
    )
    signal.signal(signal.SIGTERM, _interrupt)  # so that it ends what it started, as with Ctrl-C
    folder = Path(tempfile.mkdtemp(prefix=f"treadle-chaos-{seed}-"))
    began = time.monotonic()
    complaints = ["it was broken off"]
    chaos = Chaos(folder, seed, size, _say)
    try:
        complaints = chaos.run()
    except KeyboardInterrupt:
        _say("broken off")
    except (NoPostgres, NoRabbit) as missing:
        complaints = [str(missing)]
    finally:
        if given.keep or complaints:
            _say(f"Logs and repositories are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    _say("")
    for line in chaos.summary:
        _say(line)
    _say("")
    took = time.monotonic() - began
    _say(f"{len(chaos.planned)} runs, {len(chaos.incidents)} incidents, {took:.0f} s, seed {seed}")
    for complaint in complaints:
        _say(f"FAILED: {complaint}")
    if complaints:
        arguments = f"--seed {seed} {_others()}".strip()
        _say(f'Repeat it: make chaos ARGS="{arguments}"')
        return 1
    _say("Every run is Success, one commit a step in order, no event missing or double, nothing left.")
    return 0


def _others() -> str:
    """The arguments, without the seed."""
    given = sys.argv[1:]
    if "--seed" in given:
        at = given.index("--seed")
        given = given[:at] + given[at + 2 :]
    return " ".join(given)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program of its own, whose output this is


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

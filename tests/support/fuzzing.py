"""Many inputs to one check: no crash, no hang, nothing left behind.

A plain run takes a fixed number of inputs, the same every time. `FUZZ_SECONDS=600` makes each test go on for as long,
with inputs that are new every time; `FUZZ_SEED` repeats those of a failure, which names its seed and round.
"""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random, SystemRandom

import psutil

from tests.support.mutations import Mutator

#: How long each test goes on; 0: for its fixed number of rounds.
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))

#: A single input that takes longer has hung; no machine is so busy.
MAX_INPUT_SECONDS = 120.0

#: What memory may grow by after the first quarter of the rounds.
MAX_GROWTH_BYTES = 96 << 20

_MAX_FILES = 8


def fuzz(rounds: int, check: Callable[[Mutator], None]) -> None:
    """Gives `check` that many mutators, one after the other."""
    with _nothing_left() as look:
        for number, mutator, said in _rounds(rounds):
            start = time.monotonic()
            try:
                check(mutator)
            except BaseException as error:
                error.add_note(said)
                raise
            assert time.monotonic() - start < MAX_INPUT_SECONDS, f"an input took too long: {said}"
            look(number)


async def fuzz_async(rounds: int, check: Callable[[Mutator], Awaitable[None]]) -> None:
    """The same for what is awaited; no task may be left either."""
    before = len(asyncio.all_tasks())
    with _nothing_left() as look:
        for number, mutator, said in _rounds(rounds):
            try:
                async with asyncio.timeout(MAX_INPUT_SECONDS):
                    await check(mutator)
            except BaseException as error:
                error.add_note(said)
                raise
            look(number)
        deadline = time.monotonic() + MAX_INPUT_SECONDS
        while len(asyncio.all_tasks()) > before + 2:  # a server may have a task of its own in the air
            assert time.monotonic() < deadline, f"tasks are left: {asyncio.all_tasks()}"
            await asyncio.sleep(0.05)


def _rounds(rounds: int) -> Iterator[tuple[int, Mutator, str]]:
    given = os.environ.get("FUZZ_SEED")
    seed = given if given is not None else str(SystemRandom().getrandbits(32)) if SECONDS else "treadle"
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end if SECONDS else number < rounds:
        yield number, Mutator(Random(f"{seed}:{number}")), f"FUZZ_SEED={seed}, round {number}"
        number += 1


@contextmanager
def _nothing_left() -> Iterator[Callable[[int], None]]:
    """Files and memory; what is looked at after `warm` rounds, when everything has been used once."""
    process = psutil.Process()
    files, sizes = process.num_fds(), list[int]()

    def look(number: int) -> None:
        if number == 100:
            gc.collect()
            sizes.append(process.memory_info().rss)

    yield look
    gc.collect()
    if sizes:
        grown = process.memory_info().rss - sizes[0]
        assert grown < MAX_GROWTH_BYTES, f"memory grew by {grown:,} bytes"
    opened = process.num_fds() - files
    assert opened <= _MAX_FILES, f"{opened} files are left open"

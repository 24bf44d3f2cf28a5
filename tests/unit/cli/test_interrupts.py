import asyncio
import os
import signal
import subprocess
import sys

import pytest

from treadle.cli.failures import Stopped
from treadle.cli.interrupts import Interrupts, run


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_signal_asks_and_the_second_cancels() -> None:
    said: list[str] = []

    async def work() -> None:
        with Interrupts() as interrupts:
            interrupts.is_polite = True
            interrupt()
            await interrupts.asked.wait()
            said.append("asked")
            interrupt()
            try:
                await asyncio.Event().wait()
            finally:
                said.append("cancelled")

    with pytest.raises(Stopped) as stopped:
        run(work())
    assert (stopped.value.code, said) == (130, ["asked", "cancelled"])


def test_before_there_is_a_run_the_first_signal_cancels() -> None:
    async def work() -> None:
        with Interrupts():
            interrupt()
            await asyncio.Event().wait()

    with pytest.raises(Stopped):
        run(work())


def test_the_result_comes_back_and_the_handlers_are_gone() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work() -> int:
        with Interrupts():
            return 7

    assert run(work()) == 7
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_third_signal_ends_the_process_whatever_it_waits_for() -> None:
    code = """
import asyncio, os, signal
from treadle.cli.interrupts import Interrupts

async def work():
    with Interrupts() as interrupts:
        interrupts.is_polite = True
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                print("stuck", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.shield(asyncio.sleep(60))

asyncio.run(work())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (130, "stuck\n")

"""A service of the tests is known from its first moment on, and nobody else is taken for it."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.processes import note, noted

#: Becomes itself again and again: its start is nothing but the moments in which a process has no environment.
CHAIN = 'n=$1; [ "$n" -gt 0 ] || exec sleep 60; exec /bin/sh "$2" $((n - 1)) "$2"'


def test_a_process_that_becomes_another_program_stays_the_same_one(tmp_path: Path) -> None:
    script = tmp_path / "chain"
    script.write_text(CHAIN)
    process = subprocess.Popen(["/bin/sh", str(script), "300", str(script)])
    try:
        note(tmp_path / "pid", process.pid)
        deadline = time.monotonic() + 240
        while (found := noted(tmp_path / "pid")) is not None and found.name() != "sleep":
            assert time.monotonic() < deadline
        assert found is not None
        assert found.pid == process.pid
    finally:
        process.kill()
        process.wait()


def test_one_that_has_ended_is_no_more(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    note(tmp_path / "pid", process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert noted(tmp_path / "pid") is None  # a zombie
    process.wait()
    assert noted(tmp_path / "pid") is None


@pytest.mark.parametrize("written", ["", "{pid} 1"], ids=["never-noted", "another-had-its-pid"])
def test_another_is_not_taken_for_it(tmp_path: Path, written: str) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        if written:
            (tmp_path / "pid").write_text(written.format(pid=process.pid))
        assert noted(tmp_path / "pid") is None
    finally:
        process.kill()
        process.wait()

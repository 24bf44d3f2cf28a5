"""What a script would find, should it ever get out of the language."""

import errno
import os
import subprocess
import sys

import pytest
from tests.unit.scripting.scene import Scene

from treadle.scripting import line, walls

ATTACKS = {
    "a file to read": "open('/etc/passwd')",
    "a file to write": "open('/tmp/treadle-escape', 'w')",
    "a folder": "os.listdir('/')",
    "a connection": "socket.socket()",
    "a pair of sockets": "socket.socketpair()",
    "a process": "os.fork()",
    "a program": "os.execv('/bin/true', ['true'])",
    "a signal": "os.kill(os.getppid(), 0)",
    "a link": "os.symlink('/etc', '/tmp/treadle-escape')",
    "tracing": "check(ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0))",
}

PROGRAM = """
import ctypes, os, socket, sys
from treadle.scripting import walls
def check(result):
    if result < 0:
        raise PermissionError
library = ctypes.CDLL(None, use_errno=True)
{walls}
try:
    {attack}
except (OSError, PermissionError):
    os._exit(7)
os._exit(0)
"""


def attack(name: str, built: str) -> int:
    program = PROGRAM.format(walls=built, attack=ATTACKS[name])
    return subprocess.run([sys.executable, "-I", "-c", program], check=False, timeout=120).returncode


@pytest.mark.parametrize("name", ATTACKS)
def test_the_kernel_refuses_it(name: str) -> None:
    assert attack(name, "if not walls.close_in(): os._exit(9)") == 7


@pytest.mark.parametrize("name", ["a file to read", "a connection", "a file to write"])
def test_the_limits_alone_refuse_it(name: str) -> None:
    assert attack(name, "walls.limit(1 << 30, 10)") == 7


@pytest.mark.parametrize("name", ["a file to read", "a connection", "a folder"])
def test_without_walls_it_would_be_there(name: str) -> None:
    assert attack(name, "pass") == 0


def test_memory_ends() -> None:
    program = "from treadle.scripting import walls\nwalls.limit(200 << 20, 5)\nx = bytearray(300 << 20)"
    done = subprocess.run([sys.executable, "-I", "-c", program], check=False, capture_output=True, timeout=120)
    assert b"MemoryError" in done.stderr


def test_both_machines_have_the_same_calls() -> None:
    assert len({len(numbers) for _, numbers in walls._NUMBERS.values()}) == 1
    assert os.uname().machine in walls._NUMBERS


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["a file to read", "a connection", "a signal", "a process"])
async def test_an_interpreter_is_within_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, socket, sys\nfrom treadle.scripting import child, language\n"
        "def attack(self, value):\n"
        f"    try:\n        {ATTACKS[name]}\n        self.output = 'done'\n"
        "    except OSError as error:\n        self.output = error.errno\n"
        "language.Language._output = attack\nchild.main()\n"
    )
    monkeypatch.setattr(line, "_CHILD", ("-I", "-c", program))
    outcome = await Scene().run("output(1)")
    assert outcome.output == errno.EPERM, outcome.failure

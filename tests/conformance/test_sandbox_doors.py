"""What a command reaches: its doors, whatever it does with them, and nothing else."""

import asyncio
import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.support.boxes import PATH, make_box, run_argv, running, started
from tests.support.clis import give_up

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box
from treadle.ports.sandbox import Door
from treadle.sandbox import SANDBOXES, CheckedSandbox
from treadle.sandbox.relay import MAX_CONNECTIONS
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

PORT = 8418

#: Of the container's image, or shown by `box`.
PYTHON = os.path.realpath(sys.executable)


@pytest.fixture(params=["bubblewrap"])  # containers: `test_sandboxes.py` has each promise with doors too
async def sandbox(request: pytest.FixtureRequest) -> CheckedSandbox:
    made = SANDBOXES[request.param](Settings.load({}))
    try:
        await made.check()
    except ConfigurationError as error:
        give_up(error.message)
    assert made.confines_network
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="treadle-") as made:
        yield Path(made)


@pytest.fixture
def box(tmp_path: Path, folder: Path) -> Box:
    made = make_box(tmp_path, doors=(Door(PORT, folder / "socket"),))
    return replace(made, readable=(Path(os.path.realpath(sys.base_prefix)),))


async def run_python(sandbox: CheckedSandbox, box: Box, script: str) -> command.Completed:
    return await run_argv(sandbox, box, (PYTHON, "-I", "-S", "-c", script), {"PATH": PATH})


@asynccontextmanager
async def digesting(path: Path) -> AsyncIterator[None]:
    """Reads to the end of each connection, then answers with as many bytes, and their digest before them."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(-1)
        writer.write(hashlib.sha256(data).digest())
        writer.write(data)
        with suppress(ConnectionError):  # of a client that only wanted to connect
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        yield


#: Sends `size` bytes, says that this was all, and only then reads; `count` times at once.
CLIENT = f"""
import hashlib, os, select, socket, sys, threading

def talk(number):
    data = os.urandom(SIZE)
    with socket.create_connection(("127.0.0.1", {PORT}), 60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if answer == hashlib.sha256(data).digest() + data:
        done.append(number)

done = []
threads = [threading.Thread(target=talk, args=(number,)) for number in range(COUNT)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(done))
"""


@pytest.mark.parametrize(("count", "size"), [(1, 0), (1, 20_000_000), (60, 200_000), (MAX_CONNECTIONS + 40, 10)])
async def test_bytes_pass_both_ways_with_their_ends(
    sandbox: CheckedSandbox, box: Box, folder: Path, count: int, size: int
) -> None:
    async with digesting(folder / "socket"):
        done = await run_python(sandbox, box, CLIENT.replace("COUNT", str(count)).replace("SIZE", str(size)))
    assert (done.stdout, done.stderr) == (f"{count}\n".encode(), "")


async def test_each_port_has_its_own_socket(sandbox: CheckedSandbox, box: Box, folder: Path) -> None:
    async def say(what: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(what)
        await writer.drain()
        writer.close()

    two = replace(box, doors=(Door(8418, folder / "one"), Door(8419, folder / "two")))
    script = 'import socket\nfor port in 8418, 8419: print(socket.create_connection(("127.0.0.1", port)).recv(9))'
    async with (
        await asyncio.start_unix_server(lambda _, writer: say(b"model", writer), folder / "one"),
        await asyncio.start_unix_server(lambda _, writer: say(b"egress", writer), folder / "two"),
    ):
        done = await run_python(sandbox, two, script)
    assert done.stdout == b"b'model'\nb'egress'\n", done.stderr


async def test_a_door_that_nobody_answers_closes_and_stays(sandbox: CheckedSandbox, box: Box, folder: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as gone:
        gone.bind(str(folder / "socket"))  # and listens not
        script = f"""
import socket
for _ in range(3):
    with socket.create_connection(("127.0.0.1", {PORT}), 60) as connection:
        try: print(connection.recv(9))
        except ConnectionResetError: print(b"")
"""
        done = await run_python(sandbox, box, script)
    assert done.stdout == b"b''\n" * 3, done.stderr


async def test_what_nobody_reads_is_not_kept(sandbox: CheckedSandbox, box: Box, folder: Path) -> None:
    """The sender waits, as it would without the relay between."""
    release = asyncio.Event()

    async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    script = f"""
import socket
connection = socket.create_connection(("127.0.0.1", {PORT}), 60)
connection.settimeout(1)
sent = 0
try:
    while sent < 100_000_000: sent += connection.send(bytes(1_000_000))
except TimeoutError: pass
print("up" if sent < 50_000_000 else "it took all", flush=True)
input()
"""
    (box.work_tree / "client.py").write_text(script)
    os.mkfifo(box.work_tree / "gate")
    layout = sandbox.layout(box)
    async with await asyncio.start_unix_server(never_read, folder / "socket", limit=1000):
        line = f"exec {PYTHON} -I -S {layout.work_tree}/client.py <gate"
        async with running(sandbox, box, line) as process:
            gate = os.open(box.work_tree / "gate", os.O_RDWR)
            try:
                await started(process, 1)
                assert all(each.memory_info().rss < 40_000_000 for each in relays())
            finally:
                release.set()
                os.close(gate)


def relays() -> list[psutil.Process]:
    """Of the commands of this process."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # a server's, which came and went
            words = each.cmdline()
            if words[1:3] == ["-I", "-S"] and {"--door", "--parent"} & {*words} == {"--door"}:
                found.append(each)
    return found


def held_by(process: psutil.Process) -> list[str]:
    return [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()]


async def test_the_relay_holds_nothing_of_the_command_s(sandbox: CheckedSandbox, box: Box, folder: Path) -> None:
    """Neither its pipes, which are to end with it, nor its place among the children that it waits for."""
    async with digesting(folder / "socket"), running(sandbox, box, "echo up; wait; sleep 1000") as process:
        await started(process, 1)
        (relay,) = relays()
        held = held_by(relay)
        assert held.count("/dev/null") == 3
        assert not [each for each in held if each.startswith("pipe:")]


async def test_nothing_else_answers(sandbox: CheckedSandbox, box: Box, folder: Path) -> None:
    """Not what listens on the host, by any kind of address, nor anything beyond it."""
    with closing(socket.socket()) as tcp, closing(socket.socket(socket.AF_UNIX)) as abstract:
        tcp.bind(("0.0.0.0", 0))
        tcp.listen()
        name = f"treadle-test-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        host = _own_address()
        port = tcp.getsockname()[1]
        script = f"""
import socket
tried = {{
    "loopback": ("127.0.0.1", {port}), "host": ("{host}", {port}), "metadata": ("169.254.169.254", 80),
    "internet": ("192.0.2.1", 443), "abstract": "\\0{name}",
}}
for what, where in tried.items():
    kind = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    with socket.socket(kind) as one:
        one.settimeout(3)
        try: one.connect(where); print(what, "answers")
        except OSError as error: print(what, error.strerror)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    try: one.sendto(b"x", ("192.0.2.1", 53)); print("sent")
    except OSError as error: print("datagram", error.strerror)
try: print(socket.getaddrinfo("example.org", 80))
except OSError as error: print("no name")
print(sorted(name for _, name in socket.if_nameindex() if not name.endswith("0")))  # tunl0, sit0: the kernel's own
"""
        async with digesting(folder / "socket"):
            done = await run_python(sandbox, box, script)
    lines = done.stdout.decode().splitlines()
    assert lines[:5] == [
        "loopback Connection refused",
        *(f"{what} Network is unreachable" for what in ("host", "metadata", "internet")),
        "abstract Connection refused",
    ], done.stderr
    assert lines[5:] == ["datagram Network is unreachable", "no name", "['lo']"]


def _own_address() -> str:
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family is socket.AF_INET and not address.address.startswith("127."):
                return address.address
    return "192.0.2.2"


async def test_localhost_is_a_name_for_it(sandbox: CheckedSandbox, box: Box, folder: Path) -> None:
    async with digesting(folder / "socket"):
        script = f'import socket; socket.create_connection(("localhost", {PORT}), 60); print("up")'
        done = await run_python(sandbox, box, script)
    assert done.stdout == b"up\n", done.stderr


async def test_a_door_that_cannot_be_opened_starts_no_command(sandbox: CheckedSandbox, box: Box) -> None:
    twice = replace(box, doors=(*box.doors, *box.doors))
    (box.doors[0].socket or box.work_tree).touch()
    done = await run_python(sandbox, twice, "print('started')")
    assert done.exit_code != 0
    assert done.stdout == b""

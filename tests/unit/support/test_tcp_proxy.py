"""The proxy passes, cuts, hangs and heals; on loopback, between real sockets."""

import asyncio
import gc
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.support.tcp_proxy import TcpProxy

#: Longer than a hung link may stay silent for in a test, and short enough to wait for.
SILENCE_SECONDS = 0.3


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.wfile.write(line)
        except ConnectionError:
            pass  # the test cut the link


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def link() -> Iterator[TcpProxy]:
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            with TcpProxy(("127.0.0.1", server.server_address[1])) as proxy:
                yield proxy
        finally:
            server.shutdown()
            thread.join()


def connect(link: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=60)


def asks(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text + b"\n")
    return connection.recv(100).strip()


def test_it_passes_both_ways_and_an_end_too(link: TcpProxy) -> None:
    with connect(link) as connection:
        assert asks(connection, b"one") == b"one"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""


def test_a_cut_link_resets_what_is_open_and_refuses_what_is_new(link: TcpProxy) -> None:
    with connect(link) as connection:
        assert asks(connection, b"one") == b"one"
        link.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    with pytest.raises(ConnectionRefusedError):
        connect(link)
    link.cut()  # again: nothing happens
    link.heal()
    with connect(link) as connection:
        assert asks(connection, b"two") == b"two"


def test_a_hanging_link_says_nothing_and_goes_on_when_it_heals(link: TcpProxy) -> None:
    with connect(link) as old:
        assert asks(old, b"one") == b"one"
        link.hang()
        with connect(link) as new:
            for connection in (old, new):
                connection.sendall(b"waits\n")
                connection.settimeout(SILENCE_SECONDS)
                with pytest.raises(TimeoutError):
                    connection.recv(100)
                connection.settimeout(60)
            link.heal()
            assert old.recv(100) == b"waits\n"
            assert new.recv(100) == b"waits\n"


def test_a_hanging_link_can_be_cut(link: TcpProxy) -> None:
    with connect(link) as connection:
        assert asks(connection, b"one") == b"one"
        link.hang()
        connection.sendall(b"lost\n")
        link.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    link.heal()
    with connect(link) as connection:
        assert asks(connection, b"two") == b"two"
    assert link.state.name == "WHOLE"


def test_a_link_can_be_cut_while_programs_are_started(link: TcpProxy) -> None:
    """Between fork and exec a child has every socket of its parent."""
    ending = threading.Event()

    def start_programs() -> None:
        while not ending.is_set():
            subprocess.run(["true"], check=True, preexec_fn=lambda: time.sleep(0.02))

    starting = threading.Thread(target=start_programs)
    starting.start()
    try:
        for _ in range(20):
            link.cut()
            link.heal()
    finally:
        ending.set()
        starting.join()
    with connect(link) as connection:
        assert asks(connection, b"one") == b"one"


def test_a_cut_link_can_hang(link: TcpProxy) -> None:
    link.cut()
    link.hang()
    with connect(link) as connection:
        connection.sendall(b"waits\n")
        link.heal()
        assert connection.recv(100) == b"waits\n"


@pytest.mark.parametrize("rounds", range(4))
def test_one_that_comes_while_it_is_cut_is_not_forgotten(link: TcpProxy, rounds: int) -> None:
    """Accepted so many rounds of the loop before. Forgotten, it would go on; or be found open, by whatever test is on
    when it is collected."""
    stands, may_go = threading.Event(), threading.Event()

    def stand() -> None:
        stands.set()
        assert may_go.wait(60)

    async def cut_later() -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)
        await link._cut()

    link._loop.call_soon_threadsafe(stand)
    assert stands.wait(60)
    with connect(link) as late:
        cutting = asyncio.run_coroutine_threadsafe(cut_later(), link._loop)
        may_go.set()
        cutting.result(60)
        assert link.connections == 0
        with suppress(ConnectionError):
            assert asks(late, b"one") == b""
        gc.collect()
    link.heal()
    with connect(link) as healed:
        assert asks(healed, b"two") == b"two"

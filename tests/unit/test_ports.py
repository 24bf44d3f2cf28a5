"""tests.support.ports: what keeps one test's server from answering for another's."""

import socket
from contextlib import ExitStack

import pytest
from tests.support.ports import ReservedPort

#: So many that chance would hit one of them for certain.
_PORTS, _TRIES = 400, 2000


def test_nobody_else_gets_one() -> None:
    with ExitStack() as held, socket.create_server(("127.0.0.1", 0)) as server:
        reserved = {held.enter_context(ReservedPort()).number for _ in range(_PORTS)}
        assert len(reserved) == _PORTS
        given = set()
        for _ in range(_TRIES):
            with socket.create_server(("127.0.0.1", 0)) as other:
                given.add(other.getsockname()[1])
            with socket.create_connection(server.getsockname()) as client:
                given.add(client.getsockname()[1])
            server.accept()[0].close()
        assert not reserved & given


def test_it_refuses_until_a_program_listens_and_again_when_that_has_ended() -> None:
    with ReservedPort() as port:
        address = ("127.0.0.1", port.number)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            with socket.create_server(address) as server, socket.create_connection(address):
                server.accept()[0].close()

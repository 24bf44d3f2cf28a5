"""Ports for programs that have to be told where to listen.

A port that was free a moment ago is not free: until the program listens, another test's server or connection may get
it from the system, and then answers in the program's place.
"""

import socket
from types import TracebackType
from typing import Self


class ReservedPort:
    """A TCP port of 127.0.0.1 that the system gives to nobody else while this is open. It refuses connections until a
    program listens on it by its number, which has to set SO_REUSEADDR, as servers do; the program may end and another
    listen again."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """May be called again."""
        self._socket.close()

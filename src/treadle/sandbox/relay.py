"""Opens a command's doors: what connects to 127.0.0.1 at a door's port is passed on to the door's unix socket.

    python -I -S relay.py --door PORT=SOCKET [--door PORT=SOCKET]... -- COMMAND [ARGUMENT]...

For a network namespace with nothing in it but a loopback of its own. The command is not started before every port
listens, and then by exec: it keeps this process's id, pipes and parent. What passes the bytes is a grandchild in a
session of its own, which holds none of the command's pipes and ends with the namespaces that it is in.

The exit code is the command's; 127 when it is not there, 126 when it cannot be run, 125 when a door cannot be opened.

A program of its own, as `supervise.py` is, without Treadle and with the few modules that cost next to nothing: every
phase starts it. Nothing that it reads is kept: no direction of a connection holds more than one chunk.
"""

import _signal  # type: ignore[import-not-found] # typeshed has no stub for it
import _socket
import errno
import os
import select
import sys
import time

_CHUNK_BYTES = 65_536
_BACKLOG = 128

#: Connections at once; more of them wait in the backlog.
MAX_CONNECTIONS = 256

#: Seconds after which a socket whose own backlog was full is tried again.
_AGAIN_SECONDS = 0.01

_READ, _WRITE, _GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR | select.EPOLLHUP
_LATER = (errno.EAGAIN, errno.EINTR)


class _Way:
    """One direction of a connection: read from `source`, written to `target`."""

    __slots__ = ("held", "is_done", "is_ended", "source", "target")

    def __init__(self, source: _socket.socket, target: _socket.socket) -> None:
        self.source = source
        self.target = target
        self.held = b""
        self.is_ended = False  # no more to read
        self.is_done = False  # and its end has been passed on

    def pass_on(self, *, is_readable: bool) -> None:
        """As much as goes without waiting. Raises OSError when either end is gone."""
        if is_readable and not self.held and not self.is_ended:
            try:
                self.held = self.source.recv(_CHUNK_BYTES)
                self.is_ended = not self.held
            except OSError as error:
                if error.errno not in _LATER:
                    raise
        if self.held:
            try:
                self.held = self.held[self.target.send(self.held) :]
            except OSError as error:
                if error.errno not in _LATER:
                    raise
        if self.is_ended and not self.held and not self.is_done:
            self.target.shutdown(_socket.SHUT_WR)
            self.is_done = True


class _Connection:
    """Both directions; the first is the command's."""

    __slots__ = ("ends", "ways", "wished")

    def __init__(self, inner: _socket.socket, outer: _socket.socket) -> None:
        self.ends = (inner, outer)
        self.ways = (_Way(inner, outer), _Way(outer, inner))
        self.wished = [0, 0]  # what the poll was last asked for each end

    def wishes(self) -> tuple[int, int]:
        there, back = self.ways
        return (
            (_READ if not there.held and not there.is_ended else 0) | (_WRITE if back.held else 0),
            (_READ if not back.held and not back.is_ended else 0) | (_WRITE if there.held else 0),
        )


class _Relay:
    def __init__(self, doors: dict[int, tuple[_socket.socket, str]]) -> None:
        self._doors = doors  # by the listener's descriptor
        self._connections: dict[int, _Connection] = {}  # by each of its two
        self._waiting: list[tuple[_socket.socket, str]] = []  # for room in their door's backlog
        self._is_open = False
        self._poll = select.epoll()

    def run(self) -> None:
        while True:
            self._open_or_close()
            for fd, event in self._poll.poll(_AGAIN_SECONDS if self._waiting else None):
                if fd in self._doors:
                    self._accept(fd)
                elif fd in self._connections:
                    self._serve(self._connections[fd], fd, event)
            waiting, self._waiting = self._waiting, []
            for inner, path in waiting:
                self._connect(inner, path)

    def _open_or_close(self) -> None:
        """Listens as long as there is room for more."""
        has_room = len(self._connections) // 2 + len(self._waiting) < MAX_CONNECTIONS
        if has_room is not self._is_open:
            self._is_open = has_room
            for fd in self._doors:
                if has_room:
                    self._poll.register(fd, _READ)
                else:
                    self._poll.unregister(fd)

    def _accept(self, fd: int) -> None:
        listener, path = self._doors[fd]
        try:
            accepted, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - the C socket's only one
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
                time.sleep(_AGAIN_SECONDS)  # it stays in the backlog, and would spin
            return
        inner = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, accepted)
        inner.setblocking(False)
        inner.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._connect(inner, path)

    def _connect(self, inner: _socket.socket, path: str) -> None:
        try:
            outer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        except OSError:
            inner.close()
            return
        outer.setblocking(False)
        try:
            outer.connect(path)
        except OSError as error:
            outer.close()
            if error.errno in _LATER:
                self._waiting.append((inner, path))
            else:
                inner.close()
            return
        connection = _Connection(inner, outer)
        for end in connection.ends:
            self._connections[end.fileno()] = connection
        self._wish(connection)

    def _serve(self, connection: _Connection, fd: int, event: int) -> None:
        try:
            for way in connection.ways:
                way.pass_on(is_readable=way.source.fileno() == fd and bool(event & (_READ | _GONE)))
        except OSError:
            self._close(connection)
            return
        if all(way.is_done for way in connection.ways):
            self._close(connection)
        else:
            self._wish(connection)

    def _wish(self, connection: _Connection) -> None:
        """Asks the poll for what each end is waited for. An end without a wish leaves it: it tells of a peer's death
        for ever, and what was read from the other end has to be delivered first."""
        for index, (end, wish) in enumerate(zip(connection.ends, connection.wishes(), strict=True)):
            had = connection.wished[index]
            if had == wish:
                continue
            connection.wished[index] = wish
            if not had:
                self._poll.register(end.fileno(), wish)
            elif wish:
                self._poll.modify(end.fileno(), wish)
            else:
                self._poll.unregister(end.fileno())

    def _close(self, connection: _Connection) -> None:
        for end in connection.ends:
            self._connections.pop(end.fileno(), None)
            end.close()  # which takes it out of the poll


def _listen(port: int) -> _socket.socket:
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _leave_behind(listeners: list[tuple[_socket.socket, str]]) -> None:
    """The relay, as a grandchild that no wait of the command's can find. Once this returns it has let go of the
    command's pipes."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        os.chdir("/")
        _keep_only([listener.fileno() for listener, _ in listeners])
        if os.fork() == 0:
            _Relay({listener.fileno(): (listener, path) for listener, path in listeners}).run()
    finally:
        os._exit(0)


def _keep_only(kept: list[int]) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib is slow to import
        if int(entry) > 2 and int(entry) not in kept:  # noqa: PLR2004 - the standard ones
            try:
                os.close(int(entry))
            except OSError:
                continue  # the listing's own


def _given_environment() -> dict[bytes, bytes]:
    """What this program was started with: Python may have added LC_CTYPE to its own."""
    with open("/proc/self/environ", "rb") as block:  # noqa: PTH123 - pathlib is slow to import
        entries = block.read().split(b"\0")
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)


def _become(command: list[str]) -> None:
    """Turns this process into the command, with signals as a new program expects them; returns never."""
    environment = _given_environment()
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_DFL)
    name = os.fsencode(command[0])
    places = [b""] if b"/" in name else environment.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    refusal: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for place in places:
        try:
            os.execve(place + b"/" + name if place else name, command, environment)  # noqa: S606 - no shell is the point
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refusal = error
    os.write(2, f"{command[0]}: {refusal.strerror or refusal}\n".encode(errors="surrogateescape"))
    os._exit(127 if isinstance(refusal, FileNotFoundError) else 126)


def main(arguments: list[str]) -> None:
    """Opens the doors, then becomes the command."""
    split = arguments.index("--")
    listeners: list[tuple[_socket.socket, str]] = []
    for flag, value in zip(arguments[:split:2], arguments[1:split:2], strict=True):
        port, _, path = value.partition("=")
        if flag != "--door" or not port.isdecimal():
            os.write(2, f"{flag} {value} is no door.\n".encode())
            os._exit(125)
        try:
            listeners.append((_listen(int(port)), path))
        except (OSError, OverflowError) as error:
            os.write(2, f"The door at port {port} cannot be opened: {error}\n".encode())
            os._exit(125)
    if listeners:
        _leave_behind(listeners)
    for listener, _ in listeners:
        listener.close()
    _become(arguments[split + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])

"""Our ends of a command's pipes, read and written by the event loop. None of them ever waits for another."""

import array
import asyncio
import fcntl
import os
import termios

#: Bytes of stderr that are kept: the last ones.
STDERR_BYTES = 64 << 10

#: Seconds that stdout may stay open after the command's own end, because a descendant holds it.
LINGER_SECONDS = 0.1

_READ_BYTES = 256 << 10
_MAX_PIPE_BYTES = 1 << 20


class Stdout:
    """Read when somebody asks for more, so that a fast command waits for a slow reader."""

    def __init__(self, fd: int, exited: asyncio.Future[int]) -> None:
        self._fd: int | None = fd
        self._exited = exited
        self._loop = asyncio.get_running_loop()
        self._reading = asyncio.Lock()
        self._owed = 0  # bytes that the command left behind
        self._linger_until = 0.0

    async def read(self, idle_seconds: float | None = None, size: int = _READ_BYTES) -> bytes:
        """The next bytes; b"" at the end, which is LINGER_SECONDS after the command's own at the latest. Raises
        TimeoutError after `idle_seconds` of silence."""
        async with self._reading:
            while True:
                await asyncio.sleep(0)  # a command that never pauses must not hold up the others
                if self._fd is None:
                    return b""
                chunk = b""
                if not self._exited.done() or self._owed > 0 or self._loop.time() < self._linger_until:
                    try:
                        chunk = os.read(self._fd, size)
                    except BlockingIOError:
                        await self._until_readable(self._fd, idle_seconds)
                        continue
                if not chunk:
                    self.close()
                self._owed -= len(chunk)
                return chunk

    def note_exit(self) -> None:
        """The command has ended: what it wrote is still to be read, what others write is not waited for."""
        if self._fd is not None:
            waiting = array.array("i", [0])
            fcntl.ioctl(self._fd, termios.FIONREAD, waiting)
            self._owed = waiting[0]
        self._linger_until = self._loop.time() + LINGER_SECONDS

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    async def _until_readable(self, fd: int, idle_seconds: float | None) -> None:
        """Until there is something, the command has ended, or it has lingered."""
        is_exited = self._exited.done()
        seconds = max(0.0, self._linger_until - self._loop.time()) if is_exited else idle_seconds
        awake: asyncio.Future[bool] = self._loop.create_future()

        def wake(is_in_time: bool) -> None:
            if not awake.done():
                awake.set_result(is_in_time)

        def on_exit(_exited: asyncio.Future[int]) -> None:
            wake(True)

        self._loop.add_reader(fd, wake, True)
        timer = self._loop.call_later(seconds, wake, False) if seconds is not None else None
        if not is_exited:
            self._exited.add_done_callback(on_exit)
        try:
            is_in_time = await awake
        finally:
            if self._fd is not None:
                self._loop.remove_reader(fd)
            self._exited.remove_done_callback(on_exit)
            if timer is not None:
                timer.cancel()
        if not is_in_time and not self._exited.done():
            raise TimeoutError


class Stderr:
    """Read at once, all the time; the end of it is kept."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._tail = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    @property
    def text(self) -> str:
        return self._tail.decode(errors="replace")

    def drain(self) -> None:
        """Reads what is there; a descendant may go on filling it, so not for ever."""
        rest = _MAX_PIPE_BYTES
        while rest > 0 and (count := self._read()):
            rest -= count

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _read(self) -> int:
        """Bytes read; 0 when there are none now, or no more."""
        if self._fd is None:
            return 0
        try:
            chunk = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return 0
        if not chunk:
            self.close()
        self._tail += chunk
        del self._tail[:-STDERR_BYTES]
        return len(chunk)


class Stdin:
    """Written as fast as the command reads, then closed; also when the command closes it first."""

    def __init__(self, fd: int, data: bytes) -> None:
        self._fd: int | None = fd
        self._rest = memoryview(data)
        self._loop = asyncio.get_running_loop()
        self._loop.add_writer(fd, self._write, fd)

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = None

    def _write(self, fd: int) -> None:
        try:
            self._rest = self._rest[os.write(fd, self._rest[:_READ_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self.close()
        if not self._rest:
            self.close()

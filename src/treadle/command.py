"""The one place that spawns. A command gets exactly the environment given to it, a session of its own, and an end:
whatever it does with its pipes, its signals or its children, leaving the context ends it within a known time.

Built on `Popen`, a pidfd and the loop's readers rather than on asyncio's own subprocess, whose `wait` hangs while a
grandchild holds stdout, whose lines end at 64 KiB, and which starts a thread for each child.
"""

import array
import asyncio
import fcntl
import os
import signal
import subprocess
import termios
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import anyio

from treadle.domain.errors import TreadleError

#: Bytes of stderr that are kept: the last ones.
STDERR_BYTES = 64 << 10

#: Seconds that stdout may stay open after the command's own end, because a descendant holds it.
LINGER_SECONDS = 0.1

#: Seconds that a process may take to die of SIGKILL; one in uninterruptible sleep on a lost disk takes longer.
REAP_SECONDS = 5.0

#: Seconds that the rest of its process group may take to do so.
GONE_SECONDS = 1.0

_READ_BYTES = 256 << 10
_MAX_PIPE_BYTES = 1 << 20


class CommandError(TreadleError):
    code = "command"


class CommandNotFound(CommandError):
    """There is no such program or directory, or it may not be used."""

    code = "command_not_found"


class CommandTimedOut(CommandError):
    """`stderr`: what the command had said there."""

    code = "command_timed_out"

    def __init__(self, message: str, *, stderr: str = "") -> None:
        super().__init__(message)
        self.stderr = stderr


class OutputTooLarge(CommandError):
    code = "command_output_too_large"


@dataclass(frozen=True, slots=True)
class Completed:
    """`exit_code` is negative for a signal; `stderr` is the last 64 KiB, decoded with replacement."""

    exit_code: int
    stdout: bytes
    stderr: str


class Running:
    """A command that runs. Made by `spawn` only."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        name: str,
        *,
        stdout: int,
        stderr: int,
        stdin: int | None,
        pidfd: int,
        data: bytes,
        grace_seconds: float,
    ) -> None:
        self.pid = process.pid
        self.cut_lines = 0  # how many lines were longer than `lines` gives
        self._process = process
        self._name = name
        self._grace_seconds = grace_seconds
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._ending: asyncio.Task[int] | None = None
        self._buffer = bytearray()
        self._is_skipping = False  # the rest of a line that was cut
        self._reading = asyncio.Lock()
        self._readers = 0
        self._is_unread = asyncio.Event()
        self._is_unread.set()
        self._owed = 0  # bytes of stdout that the command left behind
        self._linger_until = 0.0
        self._stderr_tail = bytearray()
        self._stdin_rest = memoryview(data)
        self._stdout, self._stderr = stdout, stderr
        self._pidfd = pidfd
        self._open = {stdout, stderr, pidfd} | ({stdin} if stdin is not None else set())
        self._loop.add_reader(pidfd, self._on_exit)
        self._loop.add_reader(stderr, self._on_stderr)
        if stdin is not None:
            self._loop.add_writer(stdin, self._on_stdin, stdin)

    @property
    def stderr(self) -> str:
        """The last 64 KiB so far; the command's last word is in it once `wait` has returned."""
        return bytes(self._stderr_tail[-STDERR_BYTES:]).decode(errors="replace")

    async def lines(self, *, line_bytes: int = 16 << 20, idle_seconds: float | None = None) -> AsyncIterator[bytes]:
        """Lines of stdout without their line feed. A longer line is cut to `line_bytes` and counted in `cut_lines`.
        Raises CommandTimedOut after `idle_seconds` without a byte of stdout; the time the caller takes does not count.
        """
        with self._as_reader():
            searched = 0  # how much of the buffer is known to hold no line feed
            while True:
                line, searched = self._next_line(line_bytes, searched)
                if line is not None:
                    yield line
                elif more := await self._read(idle_seconds):
                    self._buffer += more
                else:
                    break
            if self._buffer:
                line = bytes(self._buffer)
                self._buffer.clear()
                yield line

    async def chunks(self, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """Stdout as it comes, at most `chunk_bytes` at a time."""
        with self._as_reader():
            while self._buffer:
                chunk = bytes(self._buffer[:chunk_bytes])
                del self._buffer[:chunk_bytes]
                yield chunk
            while chunk := await self._read(None, chunk_bytes):
                yield chunk

    async def wait(self, seconds: float | None = None) -> int:
        """The exit code, negative for a signal. What stdout still brings is thrown away unless somebody iterates over
        it, so that the command never waits for a reader. Raises CommandTimedOut; the command then runs on."""
        if not await self._wait_for_exit(seconds):
            raise CommandTimedOut(f"{self._name} did not end within {seconds:g} s.", stderr=self.stderr)
        self._drain_stderr()
        return self._exited.result()

    async def end(self) -> int:
        """SIGTERM to its process group, the grace, SIGKILL; the exit code. Repeating it is harmless, and it goes on
        when the caller is cancelled."""
        ending = self._begin_end()
        await asyncio.wait({ending})
        return ending.result()

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _begin_end(self) -> asyncio.Task[int]:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end())
        return self._ending

    async def _end(self) -> int:
        if not self._exited.done() and self._grace_seconds > 0:
            self._signal(signal.SIGTERM)
            await self._wait_for_exit(self._grace_seconds, is_read=False)
        # After a clean end too: until the zombie is reaped the group's number is ours, and children may be left in it.
        self._signal(signal.SIGKILL)
        await self._wait_for_exit(REAP_SECONDS, is_read=False)
        self._process.poll()  # reaps
        await self._until_group_is_gone()
        return self._exited.result() if self._exited.done() else -signal.SIGKILL

    async def _until_group_is_gone(self) -> None:
        """What was killed takes a moment to die."""
        deadline = self._loop.time() + GONE_SECONDS
        while _is_group_alive(self.pid) and self._loop.time() < deadline:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _close(self) -> None:
        """Ends the command and lets go of everything. A cancellation meanwhile is passed on afterwards."""
        cancelled: asyncio.CancelledError | None = None
        ending = self._begin_end()
        with anyio.CancelScope(shield=True):  # anyio would otherwise cancel every wait anew
            while not ending.done():
                try:
                    await asyncio.wait({ending})
                except asyncio.CancelledError as error:
                    cancelled = error
        self._drain_stderr()
        for fd in tuple(self._open):
            self._drop(fd)
        if cancelled is not None:
            raise cancelled

    async def _wait_for_exit(self, seconds: float | None, *, is_read: bool = True) -> bool:
        """Whether it ended within `seconds`; `is_read`: leave stdout to those who iterate over it."""
        if not self._exited.done():
            discarding = self._loop.create_task(self._discard(is_read=is_read))
            try:
                await asyncio.wait({self._exited}, timeout=seconds)
            finally:
                discarding.cancel()
        return self._exited.done()

    def _on_exit(self) -> None:
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return
        self._drop(self._pidfd)
        if self._stdout in self._open:
            waiting = array.array("i", [0])
            fcntl.ioctl(self._stdout, termios.FIONREAD, waiting)
            self._owed = waiting[0]
        self._linger_until = self._loop.time() + LINGER_SECONDS
        self._exited.set_result(found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)

    # ---- the pipes ---------------------------------------------------------------------------------------------------

    def _next_line(self, line_bytes: int, searched: int) -> tuple[bytes | None, int]:
        """The next line in the buffer, or None and how far it was searched."""
        buffer = self._buffer
        while True:
            found = buffer.find(b"\n", searched)
            if self._is_skipping:
                del buffer[: found + 1 or len(buffer)]
                if found < 0:
                    return None, 0
                self._is_skipping, searched = False, 0
                continue
            if 0 <= found <= line_bytes:
                line = bytes(buffer[:found])
                del buffer[: found + 1]
                return line, 0
            if len(buffer) <= line_bytes:
                return None, len(buffer)
            line = bytes(buffer[:line_bytes])
            del buffer[:line_bytes]
            self._is_skipping = True
            self.cut_lines += 1
            return line, 0

    @contextmanager
    def _as_reader(self) -> Iterator[None]:
        self._readers += 1
        self._is_unread.clear()
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._is_unread.set()

    async def _discard(self, *, is_read: bool) -> None:
        while True:
            if is_read:
                await self._is_unread.wait()
            if not await self._read(None):
                return

    async def _read(self, idle_seconds: float | None, size: int = _READ_BYTES) -> bytes:
        """The next bytes of stdout; b"" at its end, which is LINGER_SECONDS after the command's own at the latest."""
        async with self._reading:
            while self._stdout in self._open:
                is_over = self._exited.done() and self._owed <= 0 and self._loop.time() >= self._linger_until
                chunk = b""
                if not is_over:
                    await asyncio.sleep(0)  # a command that never pauses must not hold up the others
                    try:
                        chunk = os.read(self._stdout, size)
                    except BlockingIOError:
                        await self._until_readable(idle_seconds)
                        continue
                if chunk:
                    self._owed -= len(chunk)
                    return chunk
                self._drop(self._stdout)
            return b""

    async def _until_readable(self, idle_seconds: float | None) -> None:
        """Until stdout has something, the command has ended, or it has lingered."""
        is_exited = self._exited.done()
        seconds = max(0.0, self._linger_until - self._loop.time()) if is_exited else idle_seconds
        awake: asyncio.Future[bool] = self._loop.create_future()

        def wake(is_in_time: bool) -> None:
            if not awake.done():
                awake.set_result(is_in_time)

        def on_exit(_exited: asyncio.Future[int]) -> None:
            wake(True)

        self._loop.add_reader(self._stdout, wake, True)
        timer = self._loop.call_later(seconds, wake, False) if seconds is not None else None
        if not is_exited:
            self._exited.add_done_callback(on_exit)
        try:
            is_in_time = await awake
        finally:
            if self._stdout in self._open:
                self._loop.remove_reader(self._stdout)
            self._exited.remove_done_callback(on_exit)
            if timer is not None:
                timer.cancel()
        if not is_in_time and not self._exited.done():
            raise CommandTimedOut(f"{self._name} said nothing for {seconds:g} s.", stderr=self.stderr)

    def _on_stderr(self) -> None:
        self._read_stderr()

    def _read_stderr(self) -> int:
        """Bytes read; 0 when there are none now, or no more."""
        if self._stderr not in self._open:
            return 0
        try:
            chunk = os.read(self._stderr, _READ_BYTES)
        except BlockingIOError:
            return 0
        if not chunk:
            self._drop(self._stderr)
        self._stderr_tail += chunk
        del self._stderr_tail[:-STDERR_BYTES]
        return len(chunk)

    def _drain_stderr(self) -> None:
        """What the command left in the pipe; a descendant may go on filling it, so not for ever."""
        rest = _MAX_PIPE_BYTES
        while rest > 0 and (count := self._read_stderr()):
            rest -= count

    def _on_stdin(self, fd: int) -> None:
        try:
            written = os.write(fd, self._stdin_rest[:_READ_BYTES])
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            written = len(self._stdin_rest)
        self._stdin_rest = self._stdin_rest[written:]
        if not self._stdin_rest:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            os.close(fd)


@asynccontextmanager
async def spawn(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes = b"",
    grace_seconds: float = 2.0,
    kept_fds: Sequence[int] = (),
) -> AsyncIterator[Running]:
    """Starts a command with `environment` and no other, in a session of its own, found by `environment`'s PATH. Leaving
    the context, however, ends its process group and reaps it: within `grace_seconds`, then by SIGKILL. `kept_fds` stay
    open in the command and its children: a lock among them outlives this process with them. What asks the kernel to
    die with its parent, as a sandbox does, dies with the thread that calls this.
    Raises CommandNotFound, CommandError."""
    running = _start(argv, environment, cwd, stdin, grace_seconds, kept_fds)
    try:
        yield running
    finally:
        await running._close()  # noqa: SLF001 - the two are one


async def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes = b"",
    seconds: float,
    output_bytes: int = 64 << 20,
    kept_fds: Sequence[int] = (),
) -> Completed:
    """Runs a command to its end, whatever its exit code. Raises CommandTimedOut after `seconds`, OutputTooLarge,
    CommandNotFound; its process group is ended first, as it is on cancellation. `kept_fds` as for `spawn`."""
    async with spawn(argv, environment=environment, cwd=cwd, stdin=stdin, kept_fds=kept_fds) as running:
        stdout = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in running.chunks():
                    stdout += chunk
                    if len(stdout) > output_bytes:
                        raise OutputTooLarge(f"{_name(argv)} wrote more than {output_bytes} bytes.")
                exit_code = await running.wait()
        except TimeoutError:
            message = f"{_name(argv)} did not end within {seconds:g} s."
            raise CommandTimedOut(message, stderr=running.stderr) from None
        return Completed(exit_code, bytes(stdout), running.stderr)


def _is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # another user's now, a set-uid program's: not ours to end
        return False
    # There may be nothing but zombies in it: not every container's init reaps orphans at once, or ever.
    for name in os.listdir("/proc"):  # noqa: PTH208 - hundreds of names, and in a hurry
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123 - as above
                state, _, its_group = stat.read().rpartition(b")")[2].split()[:3]
                if int(its_group) == group and state not in {b"Z", b"X"}:
                    return True
    return False


def script_of(module: ModuleType) -> Path:
    """What to run for a module that is a program of its own: its bytecode where Python has kept that, since compiling
    it anew costs a few milliseconds a start; else its source."""
    kept = module.__spec__.cached if module.__spec__ is not None else None
    return Path(kept) if kept is not None and os.access(kept, os.R_OK) else Path(str(module.__file__))


def _name(argv: Sequence[str]) -> str:
    return os.path.basename(argv[0]) if argv else ""  # noqa: PTH119 - a string, not a path


def _start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path | None,
    stdin: bytes,
    grace_seconds: float,
    kept_fds: Sequence[int],
) -> Running:
    with ExitStack() as theirs, ExitStack() as ours:
        try:
            stdout, their_stdout = _pipe(ours, theirs)
            stderr, their_stderr = _pipe(ours, theirs)
            their_stdin, our_stdin = _pipe(theirs, ours) if stdin else (subprocess.DEVNULL, None)
            process = subprocess.Popen(
                tuple(argv),
                stdin=their_stdin,
                stdout=their_stdout,
                stderr=their_stderr,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
                pass_fds=kept_fds,
            )
            ours.callback(process.wait)
            ours.callback(process.kill)
            pidfd = os.pidfd_open(process.pid)
        except (OSError, ValueError, IndexError) as error:
            raise _refusal(argv, error) from error
        for fd in (stdout, stderr, our_stdin):
            if fd is not None:
                os.set_blocking(fd, False)
        ours.pop_all()  # the command's own now
    return Running(
        process,
        _name(argv),
        stdout=stdout,
        stderr=stderr,
        stdin=our_stdin,
        pidfd=pidfd,
        data=stdin,
        grace_seconds=grace_seconds,
    )


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed by whom they belong to; the end to read from comes first."""
    reader, writer = os.pipe()
    reading.callback(os.close, reader)
    writing.callback(os.close, writer)
    return reader, writer


def _refusal(argv: Sequence[str], error: Exception) -> CommandError:
    name = _name(argv) or "The command"
    if isinstance(error, FileNotFoundError | NotADirectoryError) and error.filename not in {None, argv[0]}:
        return CommandNotFound(f"{name} cannot run in {error.filename}: there is no such directory.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CommandNotFound(f"{name} is not installed here.")
    if isinstance(error, PermissionError):
        return CommandNotFound(f"{name} may not be executed.")
    reason = error.strerror if isinstance(error, OSError) else "its arguments are not valid"
    return CommandError(f"{name} could not be started: {reason}.")

"""A command that runs, until it is ended."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import anyio

from treadle.command.errors import CommandTimedOut
from treadle.command.framing import LineFramer
from treadle.command.pipes import Stderr, Stdin, Stdout

#: Seconds that a process may take to die of SIGKILL; one in uninterruptible sleep on a lost disk takes longer.
REAP_SECONDS = 5.0

#: Seconds that the rest of its process group may take to do so.
GONE_SECONDS = 1.0


class Running:
    """Made by `spawn` only. All of it belongs to one event loop."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        name: str,
        *,
        pidfd: int,
        stdout: int,
        stderr: int,
        stdin: tuple[int, bytes] | None,
        grace_seconds: float,
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._name = name
        self._grace_seconds = grace_seconds
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._ending: asyncio.Task[int] | None = None
        self._framer = LineFramer()
        self._readers = 0
        self._is_unread = asyncio.Event()
        self._is_unread.set()
        self._stdout = Stdout(stdout, self._exited)
        self._stderr = Stderr(stderr)
        self._stdin = Stdin(*stdin) if stdin is not None else None
        self._pidfd: int | None = pidfd
        self._loop.add_reader(pidfd, self._on_exit)

    @property
    def stderr(self) -> str:
        """The last 64 KiB so far; the command's last word is in it once `wait` has returned."""
        return self._stderr.text

    @property
    def cut_lines(self) -> int:
        """How many lines were longer than `lines` gives."""
        return self._framer.cut_lines

    async def lines(self, *, line_bytes: int = 16 << 20, idle_seconds: float | None = None) -> AsyncIterator[bytes]:
        """Lines of stdout without their line feed. A longer line is cut to `line_bytes` and counted in `cut_lines`.
        Raises CommandTimedOut after `idle_seconds` without a byte of stdout; the time the caller takes does not count.
        """
        with self._as_reader():
            while True:
                if (line := self._framer.next_line(line_bytes)) is not None:
                    yield line
                elif more := await self._read(idle_seconds):
                    self._framer.add(more)
                else:
                    break
            if (line := self._framer.last_line()) is not None:
                yield line

    async def chunks(self, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """Stdout as it comes, at most `chunk_bytes` at a time."""
        with self._as_reader():
            while chunk := self._framer.take(chunk_bytes):
                yield chunk
            while chunk := await self._stdout.read(size=chunk_bytes):
                yield chunk

    async def wait(self, seconds: float | None = None) -> int:
        """The exit code, negative for a signal. What stdout still brings is thrown away unless somebody iterates over
        it, so that the command never waits for a reader. Raises CommandTimedOut; the command then runs on."""
        if not await self._wait_for_exit(seconds):
            raise CommandTimedOut(f"{self._name} did not end within {seconds:g} s.", stderr=self.stderr)
        self._stderr.drain()
        return self._exited.result()

    async def end(self) -> int:
        """SIGTERM to its process group, the grace, SIGKILL; the exit code. Repeating it is harmless, and it goes on
        when the caller is cancelled."""
        ending = self._begin_end()
        await asyncio.wait({ending})
        return ending.result()

    async def close(self) -> None:
        """Ends the command and lets go of everything; `spawn` does it. A cancellation meanwhile is passed on
        afterwards."""
        cancelled: asyncio.CancelledError | None = None
        ending = self._begin_end()
        with anyio.CancelScope(shield=True):  # anyio would otherwise cancel every wait anew
            while not ending.done():
                try:
                    await asyncio.wait({ending})
                except asyncio.CancelledError as error:
                    cancelled = error
        self._stderr.drain()
        self._stderr.close()
        self._stdout.close()
        if self._stdin is not None:
            self._stdin.close()
        self._close_pidfd()
        if cancelled is not None:
            raise cancelled

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

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _until_group_is_gone(self) -> None:
        """What was killed takes a moment to die."""
        deadline = self._loop.time() + GONE_SECONDS
        while _is_group_alive(self.pid) and self._loop.time() < deadline:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)

    async def _wait_for_exit(self, seconds: float | None, *, is_read: bool = True) -> bool:
        """Whether it ended within `seconds`; `is_read`: leave stdout to those who iterate over it."""
        if not self._exited.done():
            discarding = self._loop.create_task(self._discard(is_read=is_read))
            try:
                await asyncio.wait({self._exited}, timeout=seconds)
            finally:
                discarding.cancel()
        return self._exited.done()

    async def _discard(self, *, is_read: bool) -> None:
        while True:
            if is_read:
                await self._is_unread.wait()
            if not await self._stdout.read():
                return

    async def _read(self, idle_seconds: float | None) -> bytes:
        try:
            return await self._stdout.read(idle_seconds)
        except TimeoutError:
            raise CommandTimedOut(f"{self._name} said nothing for {idle_seconds:g} s.", stderr=self.stderr) from None

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

    def _on_exit(self) -> None:
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # `_end` reaps
        if found is None:
            return
        self._close_pidfd()
        self._stdout.note_exit()
        self._exited.set_result(found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)

    def _close_pidfd(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None


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

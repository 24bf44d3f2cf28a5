"""Spawning: exact environments, bounded lines, and an end whatever the command does."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import command
from treadle.command import pipes
from treadle.command.framing import LineFramer

pytestmark = pytest.mark.anyio

ENVIRONMENT = {"PATH": os.environ["PATH"]}
SECONDS = 60.0


async def run(
    script: str, *, stdin: bytes = b"", seconds: float = SECONDS, output_bytes: int = 64 << 20
) -> command.Completed:
    argv = ("sh", "-c", script)
    return await command.run(argv, environment=ENVIRONMENT, stdin=stdin, seconds=seconds, output_bytes=output_bytes)


@asynccontextmanager
async def spawn(script: str, *, grace_seconds: float = 0.2, stdin: bytes = b"") -> AsyncIterator[command.Running]:
    argv = ("sh", "-c", script)
    async with command.spawn(argv, environment=ENVIRONMENT, grace_seconds=grace_seconds, stdin=stdin) as running:
        yield running


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until_dead(*pids: int) -> None:
    """What was killed dies in its own time, on a machine where it stands still for a while."""
    async with asyncio.timeout(2 * SECONDS):
        while any(map(is_alive, pids)):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def open_fds() -> set[tuple[str, str]]:
    """Numbers, and what each stands for: what an earlier test left may be closed at any time, and its number is free
    again."""
    found = set[tuple[str, str]]()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found.add((entry.name, str(entry.readlink())))
    return found


async def first(running: command.Running) -> bytes:
    return await anext(running.lines(idle_seconds=SECONDS))


async def test_what_a_command_says_and_how_it_ends() -> None:
    done = await run("cat; echo no >&2; exit 3", stdin=b"in")
    assert done == command.Completed(3, b"in", "no\n")
    assert (await run("kill -9 $$")).exit_code == -9


async def test_a_limit_of_memory_is_its_own_and_its_childrens() -> None:
    argv = ("sh", "-c", "read line; ulimit -d; sh -c 'ulimit -d'")  # reads what is written once the limit is there
    done = await command.run(argv, environment=ENVIRONMENT, stdin=b"go\n", seconds=SECONDS, memory_bytes=64 << 20)
    assert done.stdout == b"65536\n65536\n"


async def test_a_lower_limit_of_memory_stays() -> None:
    code = f"""
import asyncio, resource
from treadle import command
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
argv = ("sh", "-c", "read line; ulimit -d")
done = asyncio.run(
    command.run(argv, environment={ENVIRONMENT!r}, stdin=b"go\\n", seconds={SECONDS}, memory_bytes=2 << 30)
)
print(done.stdout.decode(), end="")
"""
    argv = (sys.executable, "-c", code)
    done = await command.run(argv, environment=ENVIRONMENT, seconds=SECONDS)
    assert (done.stdout, done.stderr) == (b"1048576\n", "")


async def test_the_environment_is_exactly_the_one_given() -> None:
    done = await command.run(("/usr/bin/env", "-0"), environment={"A": "1\n2"}, seconds=SECONDS)
    assert done.stdout == b"A=1\n2\0"


async def test_the_directory_is_the_one_given(tmp_path: Path) -> None:
    done = await command.run(("pwd",), environment=ENVIRONMENT, cwd=tmp_path, seconds=SECONDS)
    assert done.stdout == f"{tmp_path}\n".encode()


async def test_it_runs_in_a_session_of_its_own_with_no_other_files_open() -> None:
    held = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(held, True)
    done = await run("ps -o pid=,sid=,tty= -p $$; ls /proc/$$/fd")
    os.close(held)
    pid, session, terminal, *fds = done.stdout.decode().split()
    assert (session, terminal, fds) == (pid, "?", ["0", "1", "2"])


@pytest.mark.parametrize(
    ("argv", "cwd", "kind", "message"),
    [
        (("no-such-program",), None, command.CommandNotFound, "no-such-program is not installed here."),
        (("/etc/passwd",), None, command.CommandNotFound, "passwd may not be executed."),
        (("true",), Path("/nonexistent"), command.CommandNotFound, "true cannot run in /nonexistent: there is no such"),
        ((), None, command.CommandError, "could not be started"),
        (("true", "a\0b"), None, command.CommandError, "its arguments are not valid"),
        (("true", "x" * 1_000_000), None, command.CommandError, "Argument list too long"),
    ],
)
async def test_what_cannot_be_started_says_so_and_leaves_nothing_open(
    argv: tuple[str, ...], cwd: Path | None, kind: type[command.CommandError], message: str
) -> None:
    before = open_fds()
    with pytest.raises(kind, match=message) as found:
        await command.run(argv, environment=ENVIRONMENT, cwd=cwd, seconds=SECONDS, stdin=b"x")
    assert type(found.value) is kind
    assert open_fds() <= before


async def test_nothing_is_open_afterwards() -> None:
    await run("true")  # the loop opens what it keeps
    before = open_fds()
    async with spawn("cat; sleep 1000 & exec sleep 1000", stdin=b"x" * 1_000_000) as running:
        assert open_fds() - before
    assert open_fds() <= before
    assert not is_alive(running.pid)


async def test_much_on_all_pipes_at_once_does_not_deadlock() -> None:
    data = os.urandom(5_000_000)
    done = await run("head -c 3000000 /dev/zero >&2; cat", stdin=data)
    assert done.stdout == data
    assert len(done.stderr) == pipes.STDERR_BYTES


async def test_stdin_that_nobody_reads_is_no_error() -> None:
    done = await run("exec 0<&-; echo read nothing", stdin=b"x" * 1_000_000)
    assert done == command.Completed(0, b"read nothing\n", "")


async def test_only_the_end_of_stderr_is_kept() -> None:
    done = await run("yes | head -c 200000 >&2; printf 'caf\\303\\251\\377' >&2")
    assert done.stderr.endswith("y\ncafé\N{REPLACEMENT CHARACTER}")
    assert len(done.stderr.encode("utf-8", "replace")) <= pipes.STDERR_BYTES + 2


async def test_too_much_output_ends_the_command() -> None:
    with pytest.raises(command.OutputTooLarge, match="sh wrote more than 1000 bytes"):
        await run("yes", output_bytes=1000)


async def test_a_command_that_takes_too_long_is_ended_with_all_of_its_group() -> None:
    for seconds in (0.2, 5, 30):  # as long as a busy machine needs to start both
        with pytest.raises(command.CommandTimedOut, match=rf"sh did not end within {seconds} s") as found:
            await run("echo $$ >&2; sleep 1000 & echo $! >&2; wait", seconds=seconds)
        pids = [int(line) for line in found.value.stderr.split()]
        if len(pids) == 2:
            break
    assert len(pids) == 2
    await until_dead(*pids)


async def test_a_grandchild_that_holds_the_pipes_does_not_hold_up_the_end(tmp_path: Path) -> None:
    began, gate = time.monotonic(), tmp_path / "gate"
    os.mkfifo(gate)
    child = f"echo $$; echo > {gate}; exec sleep 1000"
    done = await run(f"setsid sh -c '{child}' & read -r line < {gate}; echo done; echo said >&2", seconds=60)
    assert time.monotonic() - began < 60
    escaped, said = done.stdout.split(b"\n", 1)
    os.kill(int(escaped), signal.SIGKILL)
    assert (said, done.stderr) == (b"done\n", "said\n")


async def test_a_grandchild_that_floods_the_pipe_does_not_hold_up_the_end(tmp_path: Path) -> None:
    began, gate = time.monotonic(), tmp_path / "gate"
    os.mkfifo(gate)
    child = f"yes | head -c 1000000; echo > {gate}; exec yes"
    done = await run(f"setsid sh -c '{child}' & read -r line < {gate}", seconds=60, output_bytes=1 << 40)
    assert time.monotonic() - began < 60
    assert done.stdout.startswith(b"y\ny\n")


async def test_what_is_left_in_the_group_ends_with_the_command() -> None:
    done = await run("sleep 1000 >/dev/null 2>&1 & echo $!")
    await until_dead(int(done.stdout))


# ---- lines -----------------------------------------------------------------------------------------------------------


async def test_lines_are_those_of_the_command() -> None:
    async with spawn("printf 'one\\ntwo\\r\\n\\nlast'") as running:
        assert [line async for line in running.lines()] == [b"one", b"two\r", b"", b"last"]
        assert await running.wait() == 0


async def test_lines_come_while_the_command_runs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    async with spawn(f"echo one; read -r line < {tmp_path}/gate; echo $line") as running:
        lines = running.lines(idle_seconds=SECONDS)
        assert await anext(lines) == b"one"
        (tmp_path / "gate").write_text("two\n")
        assert await anext(lines) == b"two"


async def test_a_line_that_is_too_long_is_cut_and_counted() -> None:
    script = "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo short; printf 12345; printf 678901234567890"
    async with spawn(script) as running:
        lines = [line async for line in running.lines(line_bytes=10)]
        assert lines == [b"x" * 10, b"short", b"1234567890"]
        assert running.cut_lines == 2


async def test_a_line_of_just_the_limit_is_whole() -> None:
    async with spawn("echo 1234567890; echo 12345678901; echo") as running:
        assert [line async for line in running.lines(line_bytes=10)] == [b"1234567890", b"1234567890", b""]
        assert running.cut_lines == 1


async def test_silence_is_timed_and_the_reader_s_own_time_is_not() -> None:
    async with spawn("printf 'up\\none\\ntwo\\n'; exec sleep 1000") as running:
        assert await first(running) == b"up"
        lines = running.lines(idle_seconds=0.1)
        assert await anext(lines) == b"one"
        await asyncio.sleep(0.2)
        assert await anext(lines) == b"two"
        with pytest.raises(command.CommandTimedOut, match=r"said nothing for 0\.1 s"):
            await anext(lines)


async def test_a_reader_may_stop_and_another_go_on() -> None:
    async with spawn("echo one; echo two; echo three; printf rest") as running:
        assert await first(running) == b"one"
        assert await first(running) == b"two"
        assert b"".join([chunk async for chunk in running.chunks(chunk_bytes=4)]) == b"three\nrest"


async def test_a_flood_leaves_the_loop_to_others() -> None:
    async with spawn("exec yes") as running:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        count = 0
        async for _ in running.lines():
            count += 1
            if count == 200_000:
                break
        ticking.cancel()
        assert ticks >= 3


@given(st.lists(st.text("ab\n", max_size=12)), st.integers(0, 5))
def test_lines_do_not_depend_on_how_the_bytes_arrive(parts: list[str], limit: int) -> None:
    framer, found = LineFramer(), list[bytes]()
    for part in parts:
        framer.add(part.encode())
        while (line := framer.next_line(limit)) is not None:
            found.append(line)
    if (line := framer.last_line()) is not None:
        found.append(line)
    whole = "".join(parts).encode().split(b"\n")
    assert found == [line[:limit] for line in (whole if whole[-1] else whole[:-1])]
    assert framer.cut_lines == sum(len(line) > limit for line in whole)


# ---- waiting and ending ----------------------------------------------------------------------------------------------


async def test_waiting_throws_away_what_nobody_reads() -> None:
    async with spawn("head -c 3000000 /dev/zero; exit 4") as running:
        assert await running.wait(SECONDS) == 4
        assert await running.wait() == 4


async def test_waiting_leaves_the_output_to_a_reader() -> None:
    async with spawn("sleep 0.05; echo one; sleep 0.05; echo two") as running:
        waiting = asyncio.create_task(running.wait(SECONDS))
        assert [line async for line in running.lines()] == [b"one", b"two"]
        assert await waiting == 0


async def test_waiting_in_vain_lets_it_run_on() -> None:
    async with spawn("echo said >&2; echo up; read -r line; exit 5", stdin=b"") as running:
        assert await running.wait(SECONDS) == 5
    async with spawn("echo said >&2; echo up; exec sleep 1000") as running:
        await first(running)
        with pytest.raises(command.CommandTimedOut) as found:
            await running.wait(0.05)
        assert found.value.stderr == "said\n"
        assert is_alive(running.pid)


async def test_ending_asks_first() -> None:
    async with spawn("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done", grace_seconds=SECONDS) as running:
        await first(running)
        assert await running.end() == 7
        assert await running.end() == 7
        assert await running.wait() == 7


async def test_ending_insists_when_the_grace_is_over() -> None:
    async with spawn("trap '' TERM; echo up; while :; do sleep 0.01; done") as running:
        await first(running)
        began = time.monotonic()
        assert await running.end() == -9
        assert 0.2 <= time.monotonic() - began < 30


async def test_no_grace_is_sigkill_at_once() -> None:
    async with spawn("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done", grace_seconds=0) as running:
        await first(running)
        assert await running.end() == -9


async def test_a_command_that_floods_its_pipes_can_still_end_well() -> None:
    async with spawn("trap 'exit 7' TERM; yes & echo up; wait", grace_seconds=SECONDS) as running:
        await first(running)
        assert await running.end() == 7


async def test_leaving_by_an_error_ends_it() -> None:
    pids: list[int] = []

    async def fail() -> None:
        async with spawn("echo up; exec sleep 1000") as running:
            await first(running)
            pids.append(running.pid)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert not is_alive(pids[0])


async def test_cancellation_ends_it_however_often_it_comes() -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with spawn("trap '' TERM; echo up; while :; do sleep 0.01; done") as running:
            await first(running)
            started.set_result(running.pid)
            await asyncio.sleep(SECONDS)

    task = asyncio.create_task(work())
    pid = await started
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pid)


async def test_an_anyio_scope_waits_for_the_end() -> None:
    with anyio.CancelScope() as scope:
        async with spawn("trap '' TERM; echo up; while :; do sleep 0.01; done") as running:
            await first(running)
            scope.cancel()
            await anyio.sleep(SECONDS)
    assert scope.cancelled_caught
    assert not is_alive(running.pid)


async def test_a_cancelled_end_goes_on() -> None:
    async with spawn("trap '' TERM; echo up; while :; do sleep 0.01; done") as running:
        await first(running)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.end(), 0.05)
        assert await running.wait(SECONDS) == -9


async def test_a_reader_in_another_task_ends_with_the_command() -> None:
    async with spawn("exec sleep 1000") as running:
        reading = asyncio.create_task(first(running))
        await asyncio.sleep(0.02)
    with pytest.raises(StopAsyncIteration):
        async with asyncio.timeout(SECONDS):
            await reading


async def test_many_at_once() -> None:
    done = await asyncio.gather(*(run(f"echo {number}") for number in range(50)))
    assert [int(each.stdout) for each in done] == list(range(50))


async def test_kept_files_stay_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        done = await command.run(
            ("sh", "-c", f"cat /proc/self/fd/{fd}"), environment=ENVIRONMENT, seconds=SECONDS, kept_fds=(fd,)
        )
    finally:
        os.close(fd)
    assert done.stdout == b"kept"

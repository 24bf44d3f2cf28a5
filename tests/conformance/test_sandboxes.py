"""What every sandbox must do. Processes are found from outside, by a marker in their environment."""

import os
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.boxes import (
    GRACE,
    PATH,
    PATIENCE_SECONDS,
    end_seconds,
    make_box,
    run,
    run_argv,
    running,
    started,
)
from tests.support.clis import give_up
from tests.support.containers import Containers
from tests.support.processes import marked, wait_until_dead, wait_until_marked

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box
from treadle.ports.sandbox import Door
from treadle.sandbox import SANDBOXES, CheckedSandbox, choose
from treadle.sandbox.container_runtime import RUNTIMES
from treadle.sandbox.mounts import SYSTEM
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

#: Ignores SIGTERM; one child in a session of its own, one that forked twice, one that left its parent behind.
STUBBORN = """
trap '' TERM
setsid sh -c 'echo up; exec sleep 1000' &
(setsid sh -c 'setsid sh -c "echo up; exec sleep 1000" & sleep 1000' &)
setsid sh -c '(setsid sh -c "setsid sleep 1000 & echo up; exec sleep 1000" &)'
while :; do sleep 1000; done
"""


_WORKING: dict[str, CheckedSandbox] = {}


@pytest.fixture(params=[*(name for name in SANDBOXES if name != "container"), *RUNTIMES])
def given(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings that name a sandbox; a container's by every runtime."""
    settings = {"TREADLE_KILL_GRACE_SECONDS": str(GRACE)}
    if request.param not in RUNTIMES:
        return settings | {"TREADLE_SANDBOX": request.param}
    runtime = request.getfixturevalue(request.param)
    assert isinstance(runtime, Containers)
    return settings | runtime.settings


@pytest.fixture
async def sandbox(given: dict[str, str]) -> CheckedSandbox:
    return await tried_out(given)


@pytest.fixture
async def patient_sandbox(given: dict[str, str]) -> CheckedSandbox:
    """One that lets a command end well, however long that takes on a busy machine."""
    return await tried_out(given, grace=PATIENCE_SECONDS)


async def tried_out(given: dict[str, str], *, grace: float = GRACE) -> CheckedSandbox:
    """Each is tried out once: a container takes a second of that. `grace`: longer than a setting may be."""
    key = f"{given} {grace}"
    if key not in _WORKING:
        settings = Settings.load({"PATH": PATH, **given}).model_copy(update={"kill_grace_seconds": grace})
        made = SANDBOXES[given["TREADLE_SANDBOX"]](settings)
        try:
            await made.check()
        except ConfigurationError as error:
            give_up(error.message)
        _WORKING[key] = made
    return _WORKING[key]


@pytest.fixture(params=[0, 2], ids=["closed", "two doors"])
def box(request: pytest.FixtureRequest, sandbox: CheckedSandbox, tmp_path: Path) -> Iterator[Box]:
    """With doors something of ours stands between the sandbox and the command; nothing else may change by that."""
    with tempfile.TemporaryDirectory(prefix="treadle-") as folder:
        sockets = [Path(folder, str(number)) if sandbox.confines_network else None for number in range(request.param)]
        listening = [listen(path) for path in sockets if path is not None]
        yield make_box(tmp_path, doors=tuple(Door(8418 + number, path) for number, path in enumerate(sockets)))
        for each in listening:
            each.close()


def listen(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


@pytest.fixture
def marker() -> Iterator[str]:
    value = f"TREADLE_TEST_{uuid4().hex}"
    yield value
    for pid in marked(value):  # only after a failure
        os.kill(pid, signal.SIGKILL)


def exists(path: Path) -> bool:
    return path.exists()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_command_speaks_through_its_pipes_and_gives_its_exit_code(sandbox: CheckedSandbox, box: Box) -> None:
    done = await run(sandbox, box, "cat; echo said >&2; exit 7", stdin=b"heard")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"heard", "said\n")


async def test_a_death_by_a_signal_is_128_and_its_number(sandbox: CheckedSandbox, box: Box) -> None:
    assert (await run(sandbox, box, "kill -9 $$")).exit_code == 128 + 9
    assert (await run(sandbox, box, "kill -TERM $$")).exit_code == 128 + 15


async def test_a_missing_program_is_named(sandbox: CheckedSandbox, box: Box) -> None:
    done = await run_argv(sandbox, box, ("no-such-program",), {"PATH": PATH})
    assert done.exit_code == 127
    assert "no-such-program" in done.stderr


async def test_its_environment_is_the_one_given_and_in_no_argv(sandbox: CheckedSandbox, box: Box) -> None:
    given = {"PATH": PATH, "SECRET": "a=b\nc", "LC_ALL": "C", "EMPTY": ""}
    with sandbox.enclose(("cat", "/proc/self/environ"), given, box) as enclosed:
        argv = enclosed.argv
        done = await command.run(argv, environment=enclosed.environment, seconds=PATIENCE_SECONDS)
    found = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    assert {name: value for name, value in found.items() if name not in {"PWD", "IS_SANDBOX"}} == given
    assert not [word for word in argv if "a=b" in word]
    bare = await run_argv(sandbox, box, ("cat", "/proc/self/environ"), {"PATH": PATH})
    assert b"LC_CTYPE" not in bare.stdout


async def test_its_layout_is_where_things_are(sandbox: CheckedSandbox, box: Box) -> None:
    (box.files / "spec.txt").write_text("attached")
    layout = sandbox.layout(box)
    done = await run(
        sandbox,
        box,
        f"pwd; cat {layout.files}/spec.txt; echo 1 > {layout.work_tree}/a; echo 2 > {layout.home}/b; "
        f"echo 3 > {layout.config}/c",
    )
    assert done.stdout.decode() == f"{layout.work_tree}\nattached"
    assert [path.read_text() for path in (box.work_tree / "a", box.home / "b", box.config / "c")] == [
        "1\n",
        "2\n",
        "3\n",
    ]


async def test_what_says_that_it_enforces_read_only_does(sandbox: CheckedSandbox, tmp_path: Path) -> None:
    box = make_box(tmp_path, is_read_only=True)
    (box.work_tree / "file").write_text("before")
    done = await run(sandbox, box, "echo after > file; chmod 777 file; mkdir new; rm file; mount -o remount,rw .; ls")
    if sandbox.enforces_read_only:
        assert done.stdout == b"file\n"
        assert (box.work_tree / "file").read_text() == "before"
        assert not stat.S_IMODE((box.work_tree / "file").stat().st_mode) & stat.S_IWOTH
    else:
        assert done.stdout == b"new\n"


async def test_sigterm_lets_a_command_end_well(patient_sandbox: CheckedSandbox, box: Box) -> None:
    script = "trap 'echo bye > bye; exit 3' TERM; echo up; while :; do sleep 0.01; done"
    async with running(patient_sandbox, box, script, grace=2 * PATIENCE_SECONDS) as process:
        await started(process, 1)
        began = time.monotonic()
        assert await process.end() == 3
        assert time.monotonic() - began < PATIENCE_SECONDS
    assert (box.work_tree / "bye").read_text() == "bye\n"


async def test_ending_a_stubborn_command_ends_all_its_descendants(
    sandbox: CheckedSandbox, box: Box, marker: str
) -> None:
    async with running(sandbox, box, STUBBORN, {"MARKER": marker}) as process:
        await started(process, 3)
        wait_until_marked(marker, 6)
        await process.end()
        wait_until_dead(marker, end_seconds(sandbox))


async def test_its_own_end_ends_what_it_left_behind(sandbox: CheckedSandbox, box: Box, marker: str) -> None:
    script = "setsid sh -c 'trap \"\" TERM HUP; echo up; exec sleep 1000' & read -r _ < gate"
    os.mkfifo(box.work_tree / "gate")
    async with running(sandbox, box, script, {"MARKER": marker}) as process:
        await started(process, 1)
        (box.work_tree / "gate").write_text("go\n")
        assert await process.wait(PATIENCE_SECONDS) == 0
        wait_until_dead(marker, end_seconds(sandbox))


async def test_sigkill_ends_all_descendants(sandbox: CheckedSandbox, box: Box, marker: str) -> None:
    async with running(sandbox, box, STUBBORN, {"MARKER": marker}) as process:
        await started(process, 3)
        os.kill(process.pid, signal.SIGKILL)
        wait_until_dead(marker, end_seconds(sandbox))


async def test_sigkill_to_any_helper_ends_all_descendants(sandbox: CheckedSandbox, box: Box, marker: str) -> None:
    async with running(sandbox, box, STUBBORN, {"MARKER": marker}) as process:
        await started(process, 3)
        (helper,) = children_of(process.pid)
        os.kill(helper, signal.SIGKILL)
        wait_until_dead(marker, end_seconds(sandbox))


WORKER = """
import asyncio, os, sys
from pathlib import Path
from treadle import command
from treadle.ports import Box
from treadle.sandbox import SANDBOXES
from treadle.settings import Settings

async def main(name, root, marker, path, script):
    paths = [Path(root) / part for part in ("tree", "home", "config", "files")]
    box = Box(*paths, is_read_only=False)
    sandbox = SANDBOXES[name](Settings.load(os.environ))
    with sandbox.enclose(("sh", "-c", script), {"PATH": path, "MARKER": marker}, box) as enclosed:
        async with command.spawn(enclosed.argv, environment=enclosed.environment) as process:
            async for line in process.lines():
                print(line.decode(), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_worker_takes_its_commands_along(
    given: dict[str, str], sandbox: CheckedSandbox, box: Box, marker: str
) -> None:
    argv = [sys.executable, "-c", WORKER, sandbox.name, str(box.work_tree.parent), marker, PATH, STUBBORN]
    environment = {"PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path), **given}  # the marker is the command's alone
    async with command.spawn(argv, environment=environment) as worker:
        await started(worker, 3)
        wait_until_marked(marker, 6)
        os.kill(worker.pid, signal.SIGKILL)
        wait_until_dead(marker, end_seconds(sandbox))


async def test_a_command_whose_worker_is_already_gone_does_not_start(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    with SANDBOXES["none"](Settings.load({})).enclose(("touch", "started"), {"PATH": PATH}, box) as enclosed:
        argv, env = enclosed.argv, enclosed.environment
    parent = argv.index("--parent") + 1
    async with command.spawn(["true"], environment=env) as gone:
        await gone.wait(PATIENCE_SECONDS)
    argv = (*argv[:parent], str(gone.pid), *argv[parent + 1 :])
    done = await command.run(argv, environment=env, seconds=PATIENCE_SECONDS)
    assert done.exit_code != 0
    assert not (box.work_tree / "started").exists()


async def test_the_one_asked_for_is_chosen(given: dict[str, str], sandbox: CheckedSandbox) -> None:
    chosen = await choose(Settings.load({"PATH": PATH, **given}))
    assert chosen.name == sandbox.name


# ---- bubblewrap's walls ----------------------------------------------------------------------------------------------


@pytest.fixture
async def bubblewrap() -> CheckedSandbox:
    made = SANDBOXES["bubblewrap"](Settings.load({}))
    try:
        await made.check()
    except ConfigurationError as error:
        give_up(error.message)
    return made


@pytest.mark.bubblewrap
async def test_bubblewrap_shows_its_box_and_the_system_and_nothing_else(
    bubblewrap: CheckedSandbox, tmp_path: Path, marker: str
) -> None:
    outside, shared = tmp_path / "outside", tmp_path / "shared"
    for path in (outside, shared):
        path.mkdir()
        (path / "file").write_text("x")
    box = make_box(tmp_path / "box", readable=(shared,))
    done = await run(
        bubblewrap,
        box,
        f"""ls {outside} {Path.home()}/.. /home /var /sys /run {box.work_tree} /etc/shadow >&2 2>&1 ||:
        cat {shared}/file; echo y > {shared}/file; echo y > /files/y; echo y > /usr/y; echo y > /y; echo y > /etc/y
        echo; id -u; id -un; grep -c . /etc/passwd; ls -d /proc/[0-9]* | wc -l; grep CapEff /proc/self/status; ls /home
        cat /proc/sys/kernel/hostname; echo y > /proc/sys/kernel/hostname
        echo y > /tmp/{marker} && cat /tmp/{marker}""",
    )
    lines = done.stdout.decode().split()
    assert lines == ["x", "1000", "agent", "1", lines[4], "CapEff:", "0" * 16, "agent", "treadle", "y"]
    assert int(lines[4]) < 10
    for hidden in (outside, box.work_tree, "/sys", "/etc/shadow", "/run"):
        assert f"cannot access '{hidden}'" in done.stderr
    assert (shared / "file").read_text() == "x"
    assert not list(box.files.iterdir())
    assert not exists(Path("/tmp") / marker)


@pytest.mark.bubblewrap
async def test_bubblewrap_hides_the_service_s_own_even_where_the_system_is_shown(
    bubblewrap: CheckedSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opt = tmp_path / "opt"
    data, key = opt / "treadle", opt / "key"
    store = data / "mirrors" / "one"
    for path, text in ((opt / "tool", "tool"), (data / "db", "db"), (store / "pack", "pack"), (key, "key")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr("treadle.sandbox.mounts.SYSTEM", (*SYSTEM, str(opt)))
    settings = Settings.load({"TREADLE_DATA_DIR": str(data), "TREADLE_SECRET_KEY_FILE": str(key)})
    box = make_box(tmp_path / "box", readable=(store,))
    done = await run(
        SANDBOXES["bubblewrap"](settings), box, f"cd {opt}; cat tool key treadle/mirrors/one/*; ls treadle"
    )
    assert done.stdout == b"toolpackmirrors\n"
    assert "key: Permission denied" in done.stderr


@pytest.mark.bubblewrap
async def test_bubblewrap_hides_other_processes_environments(
    bubblewrap: CheckedSandbox, tmp_path: Path, marker: str
) -> None:
    box = make_box(tmp_path)
    async with running(bubblewrap, box, "echo up; sleep 1000", {"SECRET": marker}) as process:
        await started(process, 1)
        done = await run(bubblewrap, box, "cat /proc/*/environ")
    assert marker.encode() not in done.stdout
    assert b"PATH=" in done.stdout


#: A worker that is nobody; started by root, who can read the interpreter that runs the tests.
NOBODY = """
import anyio._backends._asyncio, asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
from treadle import command
from treadle.ports import Box
from treadle.ports.sandbox import BoxLimits
from treadle.sandbox.bubblewrap import BubblewrapSandbox

async def main(root, path, script, memory, processes):
    paths = [Path(root) / part for part in ("tree", "home", "config", "files")]
    box = Box(*paths, is_read_only=False)
    sandbox = BubblewrapSandbox(limits=BoxLimits(memory_bytes=int(memory), processes=int(processes)))
    with sandbox.enclose(("sh", "-c", script), {"PATH": path}, box) as enclosed:
        async with command.spawn(enclosed.argv, environment=enclosed.environment) as process:
            breached = asyncio.ensure_future(enclosed.breached())
            said = asyncio.ensure_future(heard(process))
            await asyncio.wait({breached, said}, return_when=asyncio.FIRST_COMPLETED)
            if breached.done():
                print(breached.result())
                await process.end()
            breached.cancel()
            print(await said, await process.wait(60), process.stderr)

async def heard(process):
    return b"".join([chunk async for chunk in process.chunks()]).decode()

os.setgroups([])
os.setresgid(65_534, 65_534, 65_534)
os.setresuid(65_534, 65_534, 65_534)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A place for a box of nobody's."""
    with tempfile.TemporaryDirectory() as root:
        box = make_box(Path(root))
        for path in (root, box.work_tree, box.home, box.config, box.files):
            os.chown(path, 65_534, 65_534)
        yield Path(root)


async def as_nobody(root: Path, script: str, *, memory: int = 0, processes: int = 0) -> str:
    argv = [sys.executable, "-c", NOBODY, str(root), PATH, script, str(memory), str(processes)]
    environment = {"PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = await command.run(argv, environment=environment, seconds=2 * PATIENCE_SECONDS)
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the other tests are an ordinary user's")


@pytest.mark.bubblewrap
@needs_root
async def test_bubblewrap_works_for_an_ordinary_user(bubblewrap: CheckedSandbox, nobodys: Path) -> None:
    said = await as_nobody(nobodys, "id -u; echo 1 > made; grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status")
    assert said.split()[0] == "1000"
    assert "NoNewPrivs:\t1\n" in said
    assert "Seccomp:\t2\n" in said
    assert (nobodys / "tree" / "made").stat().st_uid == 65_534


@pytest.mark.bubblewrap
@needs_root
async def test_an_ordinary_user_s_limits_hold_without_control_groups(nobodys: Path) -> None:
    """By the kernel at once: nobody is exempt from them as root is. Each in a box of its own."""
    forks = "n=0; while [ $n -lt 100 ]; do sleep 1000 & n=$((n+1)); done; echo all"
    said = await as_nobody(nobodys, forks, processes=50)
    assert "Cannot fork" in said
    assert "all" not in said.split()
    said = await as_nobody(nobodys, "head -c 300M /dev/zero | tail | wc -c", memory=64 << 20)
    assert said.split()[0] == "0"


@pytest.mark.bubblewrap
@needs_root
@pytest.mark.parametrize("kept", ["mmap.mmap(-1, SIZE)", "os.memfd_create('x'); os.posix_fallocate(kept, 0, SIZE)"])
async def test_an_ordinary_user_sees_what_is_shared(nobodys: Path, kept: str) -> None:
    """A mapping as far as it goes: what is used of it only root can see."""
    program = f"import mmap, os, time; SIZE = 80 << 20; kept = {kept}; time.sleep(60)"
    said = await as_nobody(nobodys, f'python3 -I -c "{program}"', memory=64 << 20)
    assert "TREADLE_SANDBOX_MEMORY_BYTES" in said


async def test_a_sandbox_that_does_not_work_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SEARCH_PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="bubblewrap is not installed"):
        await choose(Settings.load({"TREADLE_SANDBOX": "bubblewrap"}))
    with pytest.raises(ConfigurationError) as refused:
        await choose(Settings.load({}))
    assert "apt install bubblewrap" in str(refused.value.hint)
    assert "TREADLE_SANDBOX=none" in str(refused.value.hint)
    assert (await choose(Settings.load({"TREADLE_SANDBOX": "none"}))).name == "none"

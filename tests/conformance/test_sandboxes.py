"""What every sandbox must do. Processes are found from outside, by a marker in their environment."""

import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.clis import give_up
from tests.support.processes import marked, wait_until_dead

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box
from treadle.sandbox import SANDBOXES, CheckedSandbox, choose
from treadle.sandbox.bubblewrap import _SYSTEM
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

GRACE = 0.5
PATH = os.environ["PATH"]

#: Ignores SIGTERM; one child in a session of its own, one that forked twice, one that left its parent behind.
STUBBORN = """
trap '' TERM
setsid sh -c 'echo up; exec sleep 1000' &
(setsid sh -c 'setsid sh -c "echo up; exec sleep 1000" & sleep 1000' &)
setsid sh -c '(setsid sh -c "setsid sleep 1000 & echo up; exec sleep 1000" &)'
while :; do sleep 1000; done
"""


@pytest.fixture(params=SANDBOXES)
async def sandbox(request: pytest.FixtureRequest) -> CheckedSandbox:
    made = SANDBOXES[request.param](Settings.load({"TREADLE_KILL_GRACE_SECONDS": str(GRACE)}))
    try:
        await made.check()
    except ConfigurationError as error:
        give_up(error.message)
    return made


def make_box(root: Path, *, is_read_only: bool = False, readable: tuple[Path, ...] = ()) -> Box:
    tree, home, config, files = (root / name for name in ("tree", "home", "config", "files"))
    for path in (tree, home, config, files):
        path.mkdir(parents=True)
    return Box(tree, home, config, files, is_read_only=is_read_only, readable=readable)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return make_box(tmp_path)


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


@asynccontextmanager
async def running(
    sandbox: CheckedSandbox, box: Box, script: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[command.Running]:
    argv, env = sandbox.wrap(("sh", "-c", script), {"PATH": PATH, **(environment or {})}, box)
    async with command.spawn(argv, environment=env, grace_seconds=GRACE) as process:
        yield process


async def run(sandbox: CheckedSandbox, box: Box, script: str, stdin: bytes = b"") -> command.Completed:
    argv, env = sandbox.wrap(("sh", "-c", script), {"PATH": PATH}, box)
    return await command.run(argv, environment=env, stdin=stdin, seconds=20)


async def started(process: command.Running, count: int) -> None:
    lines = process.lines(idle_seconds=20)
    for _ in range(count):
        assert await anext(lines) == b"up"


async def test_a_command_speaks_through_its_pipes_and_gives_its_exit_code(sandbox: CheckedSandbox, box: Box) -> None:
    done = await run(sandbox, box, "cat; echo said >&2; exit 7", stdin=b"heard")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"heard", "said\n")


async def test_a_death_by_a_signal_is_128_and_its_number(sandbox: CheckedSandbox, box: Box) -> None:
    assert (await run(sandbox, box, "kill -9 $$")).exit_code == 128 + 9
    assert (await run(sandbox, box, "kill -TERM $$")).exit_code == 128 + 15


async def test_a_missing_program_is_named(sandbox: CheckedSandbox, box: Box) -> None:
    argv, env = sandbox.wrap(("no-such-program",), {"PATH": PATH}, box)
    done = await command.run(argv, environment=env, seconds=20)
    assert done.exit_code == 127
    assert "no-such-program" in done.stderr


async def test_its_environment_is_the_one_given_and_in_no_argv(sandbox: CheckedSandbox, box: Box) -> None:
    given = {"PATH": PATH, "SECRET": "a=b\nc", "LC_ALL": "C", "EMPTY": ""}
    argv, env = sandbox.wrap(("cat", "/proc/self/environ"), given, box)
    done = await command.run(argv, environment=env, seconds=20)
    found = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    assert {name: value for name, value in found.items() if name not in {"PWD", "IS_SANDBOX"}} == given
    assert not [word for word in argv if "a=b" in word]
    argv, env = sandbox.wrap(("cat", "/proc/self/environ"), {"PATH": PATH}, box)
    assert b"LC_CTYPE" not in (await command.run(argv, environment=env, seconds=20)).stdout


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


async def test_sigterm_lets_a_command_end_well(sandbox: CheckedSandbox, box: Box) -> None:
    script = "trap 'echo bye > bye; exit 3' TERM; echo up; while :; do sleep 0.01; done"
    async with running(sandbox, box, script) as process:
        await started(process, 1)
        began = time.monotonic()
        assert await process.end() == 3
        assert time.monotonic() - began < GRACE
    assert (box.work_tree / "bye").read_text() == "bye\n"


async def test_ending_a_stubborn_command_ends_all_its_descendants(
    sandbox: CheckedSandbox, box: Box, marker: str
) -> None:
    async with running(sandbox, box, STUBBORN, {"MARKER": marker}) as process:
        await started(process, 3)
        assert len(marked(marker)) >= 6
        began = time.monotonic()
        await process.end()
        wait_until_dead(marker, GRACE + 1 - (time.monotonic() - began))


async def test_its_own_end_ends_what_it_left_behind(sandbox: CheckedSandbox, box: Box, marker: str) -> None:
    script = "setsid sh -c 'trap \"\" TERM HUP; echo up; exec sleep 1000' & read -r _ < gate"
    os.mkfifo(box.work_tree / "gate")
    async with running(sandbox, box, script, {"MARKER": marker}) as process:
        await started(process, 1)
        (box.work_tree / "gate").write_text("go\n")
        assert await process.wait(5) == 0
        wait_until_dead(marker, 1)


async def test_sigkill_ends_all_descendants(sandbox: CheckedSandbox, box: Box, marker: str) -> None:
    async with running(sandbox, box, STUBBORN, {"MARKER": marker}) as process:
        await started(process, 3)
        os.kill(process.pid, signal.SIGKILL)
        wait_until_dead(marker, 1)


async def test_sigkill_to_any_helper_ends_all_descendants(sandbox: CheckedSandbox, box: Box, marker: str) -> None:
    async with running(sandbox, box, STUBBORN, {"MARKER": marker}) as process:
        await started(process, 3)
        (helper,) = children_of(process.pid)
        os.kill(helper, signal.SIGKILL)
        wait_until_dead(marker, 1)


WORKER = """
import asyncio, sys
from pathlib import Path
from treadle import command
from treadle.ports import Box
from treadle.sandbox import SANDBOXES
from treadle.settings import Settings

async def main(name, root, marker, path, script):
    paths = [Path(root) / part for part in ("tree", "home", "config", "files")]
    box = Box(*paths, is_read_only=False)
    sandbox = SANDBOXES[name](Settings.load({}))
    argv, environment = sandbox.wrap(("sh", "-c", script), {"PATH": path, "MARKER": marker}, box)
    async with command.spawn(argv, environment=environment) as process:
        async for line in process.lines():
            print(line.decode(), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_worker_takes_its_commands_along(sandbox: CheckedSandbox, box: Box, marker: str) -> None:
    argv = [sys.executable, "-c", WORKER, sandbox.name, str(box.work_tree.parent), marker, PATH, STUBBORN]
    environment = {"PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path)}  # the marker is the command's alone
    async with command.spawn(argv, environment=environment) as worker:
        await started(worker, 3)
        assert len(marked(marker)) >= 6
        os.kill(worker.pid, signal.SIGKILL)
        wait_until_dead(marker, 1)


async def test_a_command_whose_worker_is_already_gone_does_not_start(box: Box) -> None:
    argv, env = SANDBOXES["none"](Settings.load({})).wrap(("touch", "started"), {"PATH": PATH}, box)
    parent = argv.index("--parent") + 1
    async with command.spawn(["true"], environment=env) as gone:
        await gone.wait(20)
    argv = (*argv[:parent], str(gone.pid), *argv[parent + 1 :])
    done = await command.run(argv, environment=env, seconds=20)
    assert done.exit_code != 0
    assert not (box.work_tree / "started").exists()


async def test_the_one_asked_for_is_chosen(sandbox: CheckedSandbox) -> None:
    chosen = await choose(Settings.load({"TREADLE_SANDBOX": sandbox.name}))
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
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SYSTEM", (*_SYSTEM, str(opt)))
    settings = Settings.load({"TREADLE_DATA_DIR": str(data), "TREADLE_SECRET_KEY_FILE": str(key)})
    box = make_box(tmp_path / "box", readable=(store,))
    done = await run(
        SANDBOXES["bubblewrap"](settings), box, f"cd {opt}; cat tool key treadle/mirrors/one/*; ls treadle"
    )
    assert done.stdout == b"toolpackmirrors\n"
    assert "key: Permission denied" in done.stderr


@pytest.mark.bubblewrap
async def test_bubblewrap_hides_other_processes_environments(bubblewrap: CheckedSandbox, box: Box, marker: str) -> None:
    async with running(bubblewrap, box, "echo up; sleep 1000", {"SECRET": marker}) as process:
        await started(process, 1)
        done = await run(bubblewrap, box, "cat /proc/*/environ")
    assert marker.encode() not in done.stdout
    assert b"PATH=" in done.stdout


@pytest.mark.bubblewrap
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests are an ordinary user's")
async def test_bubblewrap_works_for_an_ordinary_user(bubblewrap: CheckedSandbox) -> None:
    with tempfile.TemporaryDirectory() as root:
        box = make_box(Path(root))
        for path in (root, box.work_tree, box.home, box.config, box.files):
            os.chown(path, 65_534, 65_534)
        argv, env = bubblewrap.wrap(("sh", "-c", "id -u; echo 1 > made"), {"PATH": PATH}, box)
        become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=KILL")
        done = await command.run((*become, *argv), environment=env, seconds=20)
        assert (done.exit_code, done.stdout, done.stderr) == (0, b"1000\n", "")
        assert (box.work_tree / "made").stat().st_uid == 65_534


async def test_a_sandbox_that_does_not_work_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SEARCH_PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="env is not installed"):
        await choose(Settings.load({"TREADLE_SANDBOX": "bubblewrap"}))
    assert (await choose(Settings.load({}))).name == "none"

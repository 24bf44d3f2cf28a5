"""What a container is besides a sandbox like every other: tests/conformance/test_sandboxes.py has the rest."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.boxes import PATH, make_box, run, run_argv, running, started, until_breached
from tests.support.clis import require_program
from tests.support.containers import EMPTY_IMAGE, Containers
from tests.support.processes import marked, wait_until_dead, wait_until_marked

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box
from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import CheckedSandbox, choose
from treadle.sandbox.container import ContainerSandbox
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

MIB = 1 << 20
ROOT = Path(__file__).parents[3]


async def made_with(containers: Containers, **other: str) -> ContainerSandbox:
    chosen = await choose(Settings.load({"PATH": PATH, **containers.settings, **other}))
    assert isinstance(chosen, ContainerSandbox)
    return chosen


@pytest.fixture(params=["podman", "docker"])
def containers(request: pytest.FixtureRequest) -> Containers:
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Containers)
    return made


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return make_box(tmp_path / "box")


@pytest.fixture
def marker() -> Iterator[str]:
    value = f"TREADLE_TEST_{uuid4().hex}"
    yield value
    for pid in marked(value):  # only after a failure
        os.kill(pid, signal.SIGKILL)


async def test_its_walls(containers: Containers, tmp_path: Path) -> None:
    shared = tmp_path / 'one, "two": three'
    shared.mkdir()
    (shared / "file").write_text("x")
    box = make_box(tmp_path / "box", readable=(shared,))
    done = await run(
        await made_with(containers),
        box,
        f"""cd '{shared}'; cat file; echo y > file; echo y > /files/y; echo y > /y; echo y > /usr/y; echo y > /etc/y
        echo; cat /proc/sys/kernel/hostname; echo y > /proc/sys/kernel/hostname; ls {box.work_tree} /root
        cat /proc/1/environ; chmod 4755 /workspace; unshare --user true; ls /sys/class/net
        id -un; grep -c . /etc/passwd; ls -d /proc/[0-9]* | wc -l; grep -E 'Cap|NoNewPrivs|filters' /proc/self/status
        echo 'echo ran' > /tmp/tool; chmod +x /tmp/tool; /tmp/tool; echo z > /var/tmp/z; cat /var/tmp/z""",
    )
    words = done.stdout.decode().split()
    caps = [word for name in ("Inh", "Prm", "Eff", "Bnd", "Amb") for word in (f"Cap{name}:", "0" * 16)]
    assert words[:5] == ["x", "treadle", "lo", "agent", "1"]
    assert int(words[5]) < 10
    assert words[6:] == [*caps, "NoNewPrivs:", "1", "Seccomp_filters:", "2", "ran", "z"]
    for refused in (
        *("create file", "create /files/y", "create /y", "create /usr/y", "create /etc/y"),
        *("create /proc/sys/kernel/hostname", f"access '{box.work_tree}'"),
    ):
        assert f"cannot {refused}" in done.stderr
    assert "/proc/1/environ: Permission denied" in done.stderr
    assert "changing permissions of '/workspace': Operation not permitted" in done.stderr
    assert "unshare failed" in done.stderr
    assert "cannot create /y: Read-only file system" in done.stderr
    assert (shared / "file").read_text() == "x"


async def test_the_worker_owns_what_is_made(podman: Containers, docker: Containers, box: Box) -> None:
    script = "id -u; id -g; echo 1 > made; stat -c %u made; echo ${IS_SANDBOX:-}"
    done = await run(await made_with(podman), box, script)
    assert done.stdout.split() == [b"1000", b"1000", b"1000"]
    assert (box.work_tree / "made").stat().st_uid == os.geteuid()
    done = await run(await made_with(docker), box, f"rm made; {script}")
    assert done.stdout.split() == [b"0", b"0", b"0", b"1"]  # docker's tests are root's
    assert (box.work_tree / "made").stat().st_uid == os.geteuid()


async def test_the_runtime_never_knows_the_environment(containers: Containers, box: Box, marker: str) -> None:
    sandbox = await made_with(containers)
    containers.until_none_left()  # of the tests before: a runtime removes them in its own time
    async with running(sandbox, box, "echo up; sleep 1000", {"SECRET": marker}) as process:
        await started(process, 1)
        (container,) = containers.left()
        assert marker not in containers.call("inspect", container)
        assert {_name(pid) for pid in marked(marker)} <= {"sh", "sleep"}
        written = (Path(folder, name) for folder, _, names in os.walk(containers.root) for name in names)
        assert not [path for path in written if _holds(path, marker.encode())]
    containers.until_none_left()


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _holds(path: Path, what: bytes) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and what in path.read_bytes()
    except OSError:
        return False


async def test_a_long_environment_goes_in_whole_and_one_beyond_the_limit_is_refused(
    podman: Containers, box: Box
) -> None:
    sandbox = await made_with(podman)
    given = {"PATH": PATH, **{f"LONG_{number}": "x" * 100_000 for number in range(9)}}
    done = await run_argv(sandbox, box, ("sh", "-c", "env | grep -c ^LONG; env | wc -c"), given)
    count, size = (int(word) for word in done.stdout.split())
    assert count == 9
    assert size > 900_000
    given |= {f"MORE_{number}": "x" * 100_000 for number in range(9)}
    with pytest.raises(ConfigurationError, match="a container takes 1048576"), sandbox.enclose(("true",), given, box):
        pass


async def test_what_goes_through_its_pipes_is_whole(containers: Containers, box: Box) -> None:
    content = os.urandom(3 * MIB)
    done = await run_argv(await made_with(containers), box, ("cat",), {"PATH": PATH}, content)
    assert done.stdout == content


async def test_the_service_s_own_is_hidden_in_what_is_shown(podman: Containers, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    data, key, store = shown / "data", shown / "key", shown / "data" / "mirrors" / "one"
    for path, text in ((shown / "tool", "tool"), (data / "db", "db"), (store / "pack", "pack"), (key, "key")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sandbox = replace(await made_with(podman), shown=(shown,), hidden=(data, key))
    box = make_box(tmp_path / "box", readable=(store,))
    done = await run(sandbox, box, f"cd {shown}; cat tool key data/mirrors/one/*; ls data")
    assert done.stdout == b"toolpackmirrors\n", done.stderr


async def test_memory_processes_and_files_are_limited(containers: Containers, box: Box) -> None:
    limits = BoxLimits(memory_bytes=64 * MIB, processes=20, file_bytes=MIB)
    sandbox = replace(await made_with(containers), limits=limits)
    code, said, _ = await until_breached(sandbox, box, "head -c 200M /dev/zero | tail | wc -c; exit 5")
    assert (code, said) == (5, _memory(said))
    code, said, heard = await until_breached(
        sandbox, box, "n=0; while [ $n -lt 40 ]; do sleep 1000 & n=$((n+1)); done; echo all"
    )
    assert "Cannot fork" in heard
    assert code == 2
    assert said is not None
    assert "TREADLE_SANDBOX_PROCESSES" in said
    code, said, _ = await until_breached(
        sandbox, box, "head -c 2M /dev/zero > big; wc -c < big; head -c 2M </dev/zero > /tmp/big"
    )
    assert (box.work_tree / "big").stat().st_size == MIB


def _memory(said: str | None) -> str:
    assert said is not None
    assert "TREADLE_SANDBOX_MEMORY_BYTES" in said
    return said


async def test_processor_time_is_that_of_all_processes_together(containers: Containers, box: Box) -> None:
    sandbox = replace(await made_with(containers), limits=BoxLimits(cpu_seconds=2))
    spin = "timeout 1 sh -c 'while :; do :; done'"  # each less than the limit
    code, said, _ = await until_breached(sandbox, box, f"while :; do {spin}; done")
    assert code == 128 + signal.SIGKILL
    assert said is not None
    assert "TREADLE_SANDBOX_CPU_SECONDS" in said


async def test_the_disk_is_watched(podman: Containers, box: Box) -> None:
    sandbox = replace(await made_with(podman), limits=BoxLimits(disk_bytes=4 * MIB))
    _, said, _ = await until_breached(sandbox, box, "head -c 8M /dev/zero > /home/agent/big; sleep 1000")
    assert said is not None
    assert "TREADLE_SANDBOX_DISK_BYTES" in said
    podman.until_none_left()


async def test_whatever_ends_it_no_container_is_left(containers: Containers, box: Box, marker: str) -> None:
    sandbox = await made_with(containers)
    async with running(sandbox, box, "echo up; sleep 1000", {"MARKER": marker}) as process:
        await started(process, 1)
        os.kill(process.pid, signal.SIGKILL)
        wait_until_dead(marker, 60)
        containers.until_none_left()
    async with running(sandbox, box, "echo up; sleep 1000", {"MARKER": marker}) as process:
        await started(process, 1)
        client = _client_of(process.pid)
        os.kill(client, signal.SIGKILL)
        wait_until_dead(marker, 60)
        containers.until_none_left()
    for _ in range(3):
        assert (await run(sandbox, box, "exit 0")).exit_code == 0
    containers.until_none_left()


def _client_of(pid: int) -> int:
    """The runtime's client, the only child of the only child."""
    return _first_child(_first_child(pid))


def _first_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


WORKER = """
import asyncio, os, sys
from pathlib import Path
from treadle import command
from treadle.ports import Box
from treadle.sandbox import SANDBOXES
from treadle.settings import Settings

async def main(root, marker):
    paths = [Path(root) / part for part in ("tree", "home", "config", "files")]
    sandbox = SANDBOXES["container"](Settings.load(os.environ))
    with sandbox.enclose(("sh", "-c", "echo up; sleep 1000"), {"PATH": os.environ["PATH"], "MARKER": marker},
                         Box(*paths, is_read_only=False)) as enclosed:
        async with command.spawn(enclosed.argv, environment=enclosed.environment) as process:
            async for line in process.lines():
                print(line.decode(), process.pid, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_next_check_removes_what_a_worker_left_when_all_was_killed_at_once(
    containers: Containers, box: Box, marker: str
) -> None:
    environment = {"PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path), **containers.settings}
    argv = [sys.executable, "-c", WORKER, str(box.work_tree.parent), marker]
    async with command.spawn(argv, environment=environment) as worker:
        said = await anext(worker.lines(idle_seconds=120))
        outer = int(said.split()[1])
        inner = _first_child(outer)
        killed = (worker.pid, outer, inner)
        for pid in killed:
            os.kill(pid, signal.SIGSTOP)  # so that none of them sees another's end
        try:
            sandbox = await made_with(containers)
            wait_until_marked(marker, 1)  # else a living worker's container was removed
        finally:
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        await worker.wait(60)
    wait_until_marked(marker, 1)
    await sandbox.check()
    wait_until_dead(marker, 60)
    containers.until_none_left()


async def test_it_says_what_is_missing(podman: Containers, box: Box) -> None:
    sandbox: CheckedSandbox = await made_with(podman)
    assert isinstance(sandbox, ContainerSandbox)
    with pytest.raises(ConfigurationError, match="has no image") as refused:
        await replace(sandbox, image=None).check()
    assert "TREADLE_SANDBOX_IMAGE" in str(refused.value.hint)
    with pytest.raises(ConfigurationError, match="podman has no image treadle-no-such:1") as refused:
        await replace(sandbox, image="treadle-no-such:1").check()
    assert "podman pull" in str(refused.value.hint)
    with pytest.raises(ConfigurationError, match="no-such-runtime is not installed"):
        await replace(sandbox, runtime="no-such-runtime").check()
    with pytest.raises(ConfigurationError, match="does not work here") as refused:
        await replace(sandbox, image=EMPTY_IMAGE).check()
    assert "python3" in str(refused.value.hint)
    podman.until_none_left()


async def test_many_at_once(podman: Containers, tmp_path: Path) -> None:
    sandbox = await made_with(podman)
    done = await asyncio.gather(
        *(run(sandbox, make_box(tmp_path / str(number)), f"echo {number}") for number in range(6))
    )
    assert [each.stdout.split() for each in done] == [[str(number).encode()] for number in range(6)]
    podman.until_none_left()


# ---- an ordinary user ------------------------------------------------------------------------------------------------

NOBODY = 65_534

#: Who may use which other ids is told to this one process's mount namespace alone.
MAPPED = """
mount --make-rslave / && mount --make-rshared /
mount --bind "$1" /etc/subuid; mount --bind "$1" /etc/subgid; shift
exec "$@"
"""

#: Started by root, who can read the interpreter that runs the tests.
ROOTLESS = """
import anyio._backends._asyncio, asyncio, codecs, concurrent.futures.thread, os, signal, sys
from pathlib import Path
from tests.support.boxes import make_box, run, until_breached
from tests.support.containers import podman_in
from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import supervise
from treadle.sandbox.container import ContainerSandbox

codecs.lookup("ascii"), codecs.lookup("idna")
sys.executable, supervise.__spec__.cached = "/usr/bin/python3", None  # what nobody can run

async def main(root):
    with podman_in(root / "podman") as podman:
        environment = {"PATH": os.environ["PATH"], **podman.environment}
        limits = BoxLimits(memory_bytes=64 << 20, processes=20, cpu_seconds=2)
        sandbox = ContainerSandbox(podman.settings["TREADLE_SANDBOX_IMAGE"], "podman", environment, limits=limits)
        await sandbox.check()
        print(sandbox.has_cgroups, not Path("/sys/fs/cgroup/cgroup.controllers").exists())
        look = "id -u; echo 1 > made; grep -E 'CapBnd|NoNew' /proc/self/status"
        done = await run(sandbox, make_box(root / "box"), look)
        print(done.stdout.decode(), done.stderr)
        print((root / "box/tree/made").stat().st_uid)
        forks = "n=0; while [ $n -lt 40 ]; do sleep 1000 & n=$((n+1)); done; echo all"
        print(await until_breached(sandbox, make_box(root / "forks"), forks))
        print(await until_breached(sandbox, make_box(root / "memory"), "head -c 200M /dev/zero | tail | wc -c"))
        spin = "while :; do timeout 1 sh -c 'while :; do :; done'; done"
        print(await until_breached(sandbox, make_box(root / "cpu"), spin))
        podman.until_none_left()

os.setgroups([])
os.setresgid(65_534, 65_534, 65_534)
os.setresuid(65_534, 65_534, 65_534)
asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def nobodys() -> Iterator[tuple[Path, Path]]:
    """A directory of nobody's, and a file that gives nobody other ids to map."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="treadle-", ignore_cleanup_errors=True)))
        ids = Path(stack.enter_context(tempfile.NamedTemporaryFile()).name)
        ids.write_text(f"{NOBODY}:100000:65536\n")
        ids.chmod(0o644)
        for folder in (root, root / "podman"):
            folder.mkdir(exist_ok=True)
            os.chown(folder, NOBODY, NOBODY)
        yield root, ids


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests are an ordinary user's")
async def test_podman_works_for_an_ordinary_user(nobodys: tuple[Path, Path]) -> None:
    for name in ("podman", "newuidmap"):
        require_program(name)
    root, ids = nobodys
    become = ("unshare", "--mount", "sh", "-c", MAPPED, "sh", str(ids))
    environment = {"PATH": f"{PATH}:/usr/sbin", "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
    argv = (*become, sys.executable, "-c", ROOTLESS, str(root))
    done = await command.run(argv, environment=environment, seconds=200)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    has_cgroups, is_version_1 = (word == "True" for word in lines.pop(0).split())
    assert not (has_cgroups and is_version_1), "no ordinary user has control groups of version 1"
    assert lines[:5] == ["1000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", " ", str(NOBODY)]
    assert "Cannot fork" in lines[5]
    assert "TREADLE_SANDBOX_CPU_SECONDS" in lines[7]

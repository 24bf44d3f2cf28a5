"""What a command may use: by a control group where there can be one, by the kernel's other limits and watching else."""

import os
import resource
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.boxes import PATH, PATIENCE_SECONDS, make_box, run, until_breached
from tests.support.clis import give_up

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import CheckedSandbox, cgroups
from treadle.sandbox.bubblewrap import BubblewrapSandbox
from treadle.sandbox.cgroup_places import MEMORY

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

MIB = 1024**2

#: How each sandbox is made with limits; a name of its own for each way of holding them.
LIMITED: Mapping[str, Callable[[BoxLimits], CheckedSandbox]] = {
    "bubblewrap, cgroups": lambda limits: BubblewrapSandbox(limits=limits),
    "bubblewrap, watched": lambda limits: BubblewrapSandbox(limits=limits, has_cgroups=False),
}


@pytest.fixture(params=LIMITED)
async def limited(request: pytest.FixtureRequest) -> Callable[[BoxLimits], CheckedSandbox]:
    make = LIMITED[request.param]
    try:
        await make(BoxLimits()).check()
    except ConfigurationError as error:
        give_up(error.message)
    if "cgroups" in request.param and cgroups.places() is None:
        give_up("no control group can be made here")
    return make


Make = Callable[[BoxLimits], CheckedSandbox]


async def test_memory_of_one_process(limited: Make, tmp_path: Path) -> None:
    """`tail` keeps all that has no line feed."""
    sandbox = limited(BoxLimits(memory_bytes=64 * MIB))
    script = "head -c 300M /dev/zero | tail | wc -c; head -c 20M /dev/zero | tail | wc -c"
    code, said, output = await until_breached(sandbox, make_box(tmp_path), script)
    if code is None:  # someone looked while it was about to be refused
        assert "64.0 MiB of memory that TREADLE_SANDBOX_MEMORY_BYTES" in str(said)
        return
    assert code == 0
    assert output.split()[0] == "0"
    assert str(20 * MIB) in output.split()
    assert "Killed" not in output or "TREADLE_SANDBOX_MEMORY_BYTES" in str(said)


async def test_memory_of_all_together(limited: Make, tmp_path: Path) -> None:
    sandbox = limited(BoxLimits(memory_bytes=64 * MIB))
    each = "(head -c 25M /dev/zero; echo >>/tmp/done; sleep 1000) | tail >/dev/null"
    full = "until [ $(wc -l </tmp/done) = 5 ]; do sleep 0.1; done"
    # The kernel has ended some of them by then; else they stay until somebody looks.
    assert isinstance(sandbox, BubblewrapSandbox)
    found = cgroups.places() if sandbox.has_cgroups else None
    rest = "kill 0" if found is not None and MEMORY in found.folders else "sleep 1000"
    script = f"touch /tmp/done; for _ in 1 2 3 4 5; do {each} & done; {full}; {rest}"
    _, said, _ = await until_breached(sandbox, make_box(tmp_path), script)
    assert said is not None
    assert "64.0 MiB of memory that TREADLE_SANDBOX_MEMORY_BYTES" in said


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/dev/shm"])
async def test_memory_that_looks_like_files(limited: Make, tmp_path: Path, folder: str) -> None:
    sandbox = limited(BoxLimits(memory_bytes=128 * MIB))
    script = f"head -c 300M /dev/zero >{folder}/x; wc -c <{folder}/x"
    code, _, output = await until_breached(sandbox, make_box(tmp_path), script)
    assert code == 0
    assert "No space left on device" in output
    assert int(output.split()[0]) <= 64 * MIB


#: Memory of no process alone: by name, what takes it from a program and stays.
HOARDS: Mapping[str, str] = {
    "a shared mapping": "kept = mmap.mmap(-1, 80 * MIB); [kept.write(bytes(MIB)) for _ in range(80)]",
    "one out of all tables": "kept = mmap.mmap(-1, 80 * MIB); [kept.write(bytes(MIB)) for _ in range(80)]; "
    "kept.madvise(mmap.MADV_DONTNEED)",
    "a memfd": "kept = os.memfd_create('x'); [os.write(kept, bytes(MIB)) for _ in range(80)]",
    "names of empty files": "[os.mknod(f'/tmp/{n}') for n in range(80 * 1024)]",
    "files with a mapping": "[open(f'{folder}/x', 'wb').write(bytes(15 * MIB)) for folder in ('/tmp', '/dev/shm')]; "
    "kept = mmap.mmap(-1, 45 * MIB); [kept.write(bytes(MIB)) for _ in range(45)]",
}


@pytest.mark.parametrize("hoard", HOARDS)
async def test_memory_of_no_process_alone(limited: Make, tmp_path: Path, hoard: str) -> None:
    sandbox = limited(BoxLimits(memory_bytes=64 * MIB))
    program = f"import mmap, os, time; MIB = 1 << 20\n{HOARDS[hoard]}\ntime.sleep(60)"
    _, said, output = await until_breached(sandbox, make_box(tmp_path), f"python3 -I -c {shlex.quote(program)}")
    assert "64.0 MiB of memory that TREADLE_SANDBOX_MEMORY_BYTES" in str(said), output


SHARING = """
import mmap, multiprocessing, time
from multiprocessing.shared_memory import SharedMemory

SIZE = 24 << 20

def share(name):
    with mapped_lock: sum(mapped[::4096])
    attached = SharedMemory(name)
    sum(attached.buf[::4096])
    attached.close()
    time.sleep(2)

multiprocessing.set_start_method("fork")
mapped, mapped_lock = mmap.mmap(-1, SIZE), multiprocessing.Lock()
mapped.write(bytes(SIZE))
named = SharedMemory(create=True, size=SIZE)
named.buf[:] = bytes(SIZE)
children = [multiprocessing.Process(target=share, args=(named.name,)) for _ in range(4)]
for child in children: child.start()
for child in children: child.join()
named.close(); named.unlink()
print("done", [child.exitcode for child in children])
"""


async def test_memory_that_processes_share_counts_once(limited: Make, tmp_path: Path) -> None:
    """Two places of 24 MiB for five processes."""
    sandbox = limited(BoxLimits(memory_bytes=192 * MIB))
    outcome = await until_breached(sandbox, make_box(tmp_path), f"python3 -I -c {shlex.quote(SHARING)}")
    assert outcome == (0, None, "done [0, 0, 0, 0]\n")


async def test_processes(limited: Make, tmp_path: Path) -> None:
    sandbox = limited(BoxLimits(processes=50))
    script = "n=0; while [ $n -lt 300 ]; do sleep 30 & n=$((n+1)); done; wait"
    code, said, output = await until_breached(sandbox, make_box(tmp_path), script)
    assert said is not None
    assert "50 processes and threads at once that TREADLE_SANDBOX_PROCESSES" in said
    assert code is None or "Cannot fork" in output


async def test_as_many_processes_as_are_allowed(limited: Make, tmp_path: Path) -> None:
    sandbox = limited(BoxLimits(processes=50))
    script = "n=0; while [ $n -lt 45 ]; do sleep 2 & n=$((n+1)); done; wait; echo done"
    assert await until_breached(sandbox, make_box(tmp_path), script) == (0, None, "done\n")


async def test_the_size_of_a_file(limited: Make, tmp_path: Path) -> None:
    sandbox, box = limited(BoxLimits(file_bytes=10 * MIB)), make_box(tmp_path)
    done = await run(sandbox, box, "head -c 20M /dev/zero >big; head -c 5M /dev/zero >small; truncate -s 1G sparse")
    assert done.exit_code == 128 + signal.SIGXFSZ
    sizes = {path.name: path.stat().st_size for path in box.work_tree.iterdir()}
    assert sizes == {"big": 10 * MIB, "small": 5 * MIB, "sparse": 0}


@pytest.fixture
def dumping() -> Iterator[None]:
    """A service that was started where cores are dumped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("nobody dumps cores here")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.mark.usefixtures("dumping")
async def test_no_core_is_dumped(limited: Make, tmp_path: Path) -> None:
    done = await run(limited(BoxLimits()), make_box(tmp_path), "ulimit -S -c; ulimit -H -c")
    assert done.stdout == b"0\n0\n"


@pytest.mark.parametrize("place", ["/workspace", "/home/agent", "/config"])
async def test_the_disk(limited: Make, tmp_path: Path, place: str) -> None:
    sandbox = limited(BoxLimits(disk_bytes=32 * MIB))
    script = f"cd {place}; for n in 1 2 3 4 5; do head -c 8M /dev/zero >$n; done; sleep 60"
    code, said, _ = await until_breached(sandbox, make_box(tmp_path), script)
    assert code is None
    assert said is not None
    assert "32.0 MiB that TREADLE_SANDBOX_DISK_BYTES" in said


async def test_a_file_without_a_name_counts_too(limited: Make, tmp_path: Path) -> None:
    sandbox = limited(BoxLimits(disk_bytes=32 * MIB))
    script = "exec 9>x; rm x; head -c 48M /dev/zero >&9; sleep 60"
    code, said, _ = await until_breached(sandbox, make_box(tmp_path), script)
    assert code is None
    assert "TREADLE_SANDBOX_DISK_BYTES" in str(said)


async def test_holes_in_a_file_do_not_count(limited: Make, tmp_path: Path) -> None:
    sandbox = limited(BoxLimits(disk_bytes=32 * MIB))
    code, said, _ = await until_breached(sandbox, make_box(tmp_path), "truncate -s 10G sparse; sleep 4")
    assert (code, said) == (0, None)


async def test_processor_time_of_one_process(limited: Make, tmp_path: Path) -> None:
    sandbox = limited(BoxLimits(cpu_seconds=1))
    code, said, _ = await until_breached(sandbox, make_box(tmp_path), "while :; do :; done")
    assert (code, said) == (128 + signal.SIGXCPU, None) or "TREADLE_SANDBOX_CPU_SECONDS" in str(said)


async def test_processor_time_of_all_together(limited: Make, tmp_path: Path) -> None:
    """None of which passes it alone."""
    sandbox = limited(BoxLimits(cpu_seconds=2))
    script = "loop() { while :; do :; done; }; loop & loop & loop & sleep 60"
    code, said, _ = await until_breached(sandbox, make_box(tmp_path), script)
    assert code is None
    assert "2 seconds of processor time that TREADLE_SANDBOX_CPU_SECONDS" in str(said)


async def test_nothing_is_said_of_limits_that_nobody_met(limited: Make, tmp_path: Path) -> None:
    limits = BoxLimits(256 * MIB, 100, 64 * MIB, 256 * MIB, 60)
    outcome = await until_breached(limited(limits), make_box(tmp_path), "head -c 30M /dev/zero >x; sleep 3; exit 4")
    assert outcome == (4, None, "")


# ---- control groups --------------------------------------------------------------------------------------------------


@pytest.fixture
def places() -> list[Path]:
    found = cgroups.places()
    if found is None:
        give_up("no control group can be made here")
    return sorted(set(found.folders.values()))


def groups(places: list[Path]) -> set[Path]:
    return {path for place in places for path in place.glob(f"treadle-{os.getpid()}-*")}


async def test_a_group_lasts_as_long_as_its_command(tmp_path: Path, places: list[Path]) -> None:
    before = groups(places)
    sandbox = BubblewrapSandbox(limits=BoxLimits(memory_bytes=64 * MIB))
    with sandbox.enclose(("true",), {"PATH": PATH}, make_box(tmp_path)):
        assert len(groups(places) - before) == len(places)
    assert groups(places) == before


def test_what_is_left_in_a_group_is_ended_with_it(
    tmp_path: Path, places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should bubblewrap ever let something go on."""
    monkeypatch.setattr(cgroups, "LEAVE_SECONDS", PATIENCE_SECONDS)  # on a busy machine they take their time
    before = groups(places)  # of other tests, which did not wait for it
    left = subprocess.Popen(["sleep", "1000"])
    with BubblewrapSandbox().enclose(("true",), {"PATH": PATH}, make_box(tmp_path)) as enclosed:
        assert enclosed.group is not None
        for entrance in enclosed.group.entrances:
            entrance.write_text(str(left.pid))
    assert left.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert groups(places) <= before


async def test_a_dead_worker_s_groups_go_at_the_next_start(places: list[Path]) -> None:
    found = cgroups.places()
    assert found is not None
    # This process's number, and another's start; and a number that no process has.
    left = [place / name for place in places for name in (f"treadle-{os.getpid()}-1-1", "treadle-4194304-5-1")]
    for folder in left:
        folder.mkdir(exist_ok=True)
    mine = cgroups.make(BoxLimits())
    assert mine is not None
    cgroups.sweep(found)
    assert all(folder.exists() for folder in mine.folders)
    mine.remove()
    assert not [folder for folder in left if folder.exists()]


async def test_what_hit_a_limit_is_known_afterwards_too(tmp_path: Path, places: list[Path]) -> None:
    sandbox = BubblewrapSandbox(limits=BoxLimits(processes=10))
    script = "n=0; while [ $n -lt 30 ]; do sleep 1000 & n=$((n+1)); done"
    with sandbox.enclose(("sh", "-c", script), {"PATH": PATH}, make_box(tmp_path)) as enclosed:
        await command.run(enclosed.argv, environment=enclosed.environment, seconds=PATIENCE_SECONDS)
    assert "TREADLE_SANDBOX_PROCESSES" in str(enclosed.hit())

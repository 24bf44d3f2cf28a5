"""Mirrors go when nobody needs them, and never while somebody does; nothing is left half."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.support.git_server import GitServer, Kind
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import FILES, ORGANIZATION, Bench, permitted

from treadle.domain.credentials import GitCredentials
from treadle.workspace import pruning
from treadle.workspace.locks import DirectoryLock, FileLock
from treadle.workspace.pruning import Mirror, PrunedMirrors, Shelf
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio

GOOD = GitCredentials(http="ada:secret-word")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _folder(bench: Bench) -> Path:
    return bench.root / "mirrors" / str(ORGANIZATION)


def _names(bench: Bench) -> set[str]:
    return {path.suffix for path in _folder(bench).iterdir()}


def _sizes(mirrors: Iterable[Mirror]) -> int:
    return sum(mirror.size for mirror in mirrors)


async def _everything(bench: Bench, *, is_dry_run: bool = False) -> PrunedMirrors:
    return await Shelf(bench.root).prune(unused_since=None, most_bytes=0, is_dry_run=is_dry_run)


async def _works(workspace: GitWorkspace) -> None:
    """Its clone has every object that a step needs."""
    (workspace.box.work_tree / "README.md").write_text("# Changed\n")
    assert await workspace.commit("Change", uuid4()) is not None
    assert (await workspace.compare())[0] >= 1
    await workspace.push(permitted)


async def _mirrors(bench: Bench, origin: BareRepositories, *names: str) -> list[Mirror]:
    """One of each repository, used a day after the other, and not any more."""
    made: list[Path] = []
    for number, name in enumerate(names):
        origin.create(name, {**FILES, "big": os.urandom(200_000)})
        await (await bench.prepare(origin.path(name))).remove()
        [new] = set(_folder(bench).glob("*.git")) - set(made)
        made.append(new)
        moment = (LONG_AGO + timedelta(days=number)).timestamp()
        os.utime(new, (moment, moment))
    found = await Shelf(bench.root).mirrors()
    assert [mirror.path for mirror in found] == made
    return list(found)


# ---- what goes -------------------------------------------------------------------------------------------------------


async def test_the_longest_unused_go_first(bench: Bench, origin: BareRepositories) -> None:
    mirrors = await _mirrors(bench, origin, "a", "b", "c", "d")
    assert [mirror.date_used for mirror in mirrors] == [LONG_AGO + timedelta(days=day) for day in range(4)]
    assert all(mirror.size > 200_000 for mirror in mirrors)
    shelf = Shelf(bench.root)
    pruned = await shelf.prune(unused_since=LONG_AGO + timedelta(days=1), most_bytes=None)
    assert pruned == PrunedMirrors((mirrors[0],), (), _sizes(mirrors[1:]))
    pruned = await shelf.prune(unused_since=None, most_bytes=_sizes(mirrors[2:]))
    assert pruned == PrunedMirrors((mirrors[1],), (), _sizes(mirrors[2:]))
    assert await shelf.prune(unused_since=LONG_AGO, most_bytes=1 << 40) == PrunedMirrors((), (), _sizes(mirrors[2:]))
    assert await shelf.prune(unused_since=None, most_bytes=None) == PrunedMirrors((), (), _sizes(mirrors[2:]))
    pruned = await shelf.prune(unused_since=LONG_AGO + timedelta(days=3), most_bytes=_sizes(mirrors[3:]) - 1)
    assert pruned == PrunedMirrors(tuple(mirrors[2:]), (), 0)
    assert list(_folder(bench).iterdir()) == [], "nor a lock of theirs"


async def test_a_dry_run_changes_nothing(bench: Bench, origin: BareRepositories) -> None:
    mirrors = await _mirrors(bench, origin, "a", "b")
    before = sorted((path, path.stat().st_mtime_ns) for path in _folder(bench).iterdir())
    assert await _everything(bench, is_dry_run=True) == PrunedMirrors(tuple(mirrors), (), 0)
    assert sorted((path, path.stat().st_mtime_ns) for path in _folder(bench).iterdir()) == before
    assert await _everything(bench) == PrunedMirrors(tuple(mirrors), (), 0)


async def test_each_use_counts(bench: Bench, origin: BareRepositories) -> None:
    [mirror] = await _mirrors(bench, origin, "a")
    workspace = await bench.prepare(origin.path("a"))
    [used] = await Shelf(bench.root).mirrors()
    assert used.date_used > mirror.date_used
    assert used.is_used
    os.utime(used.path, (0, 0))  # as if it had been in use for long
    await workspace.remove()
    [left] = await Shelf(bench.root).mirrors()
    assert left.date_used >= used.date_used
    assert not left.is_used


async def test_data_directories_are_counted_together(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other", bench._stack)
    [first] = await _mirrors(bench, origin, "a")
    [second] = await _mirrors(other, origin, "b")
    shelf = Shelf(bench.root, other.root, tmp_path / "nothing")
    pruned = await shelf.prune(unused_since=None, most_bytes=max(first.size, second.size))
    assert pruned.gone == (first,)
    assert pruned.left == second.size


# ---- what is in use --------------------------------------------------------------------------------------------------


async def test_a_mirror_on_loan_stays_until_the_last_workspace_is_gone(bench: Bench, origin: BareRepositories) -> None:
    first = await bench.prepare(origin.path("demo"), work="one")
    second = await bench.prepare(origin.path("demo"), work="two")
    for workspace in (first, second):
        pruned = await _everything(bench)
        assert (pruned.gone, len(pruned.used)) == ((), 1)
        await _works(workspace)
        await workspace.remove()
    assert len((await _everything(bench)).gone) == 1
    again = await bench.prepare(origin.path("demo"), work="three")
    assert not again.prepared.is_warm
    await _works(again)


async def test_a_preparation_that_failed_holds_nothing(bench: Bench, origin: BareRepositories) -> None:
    await (await bench.prepare(origin.path("demo"))).remove()
    with pytest.raises(Exception, match="no branch 'missing'"):
        await bench.prepare(origin.path("demo"), source="missing")
    assert len((await _everything(bench)).gone) == 1


async def test_mirrors_of_submodules_are_on_loan_too(bench: Bench, origin: BareRepositories) -> None:
    origin.create("lib", {"lib.txt": "lib\n"})
    modules = f'[submodule "it"]\n\tpath = lib\n\turl = {origin.path("lib")}\n'
    sha = origin.git("lib", "rev-parse", "main").strip()
    origin.commit("demo", {".gitmodules": modules}, submodules={"lib": sha})
    workspace = await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))
    assert len((await _everything(bench)).used) == 2
    (workspace.box.work_tree / "lib/lib.txt").unlink()
    assert await workspace.restore_submodules() == ("lib/lib.txt",)
    await workspace.remove()
    assert len((await _everything(bench)).gone) == 2


@pytest.mark.parametrize("is_warm", [False, True])
async def test_a_mirror_that_is_being_fetched_stays(bench: Bench, git_server: GitServer, is_warm: bool) -> None:
    url = git_server.url("demo")
    if is_warm:
        await (await bench.prepare(url, credentials=GOOD)).remove()
    gate = git_server.hold(Kind.UPLOAD)
    preparing = asyncio.create_task(bench.prepare(url, credentials=GOOD))
    await asyncio.to_thread(gate.wait)
    shelf = Shelf(bench.root)
    pruned = await _everything(bench)
    assert (pruned.gone, len(pruned.used)) == ((), int(is_warm))
    assert await shelf.leavings() == pruning.Leavings()
    await shelf.clear()
    gate.release()
    workspace = await preparing
    assert workspace.prepared.is_warm == is_warm
    await _works(workspace)


async def test_one_that_was_used_since_it_was_looked_at_stays(
    bench: Bench, origin: BareRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors = await _mirrors(bench, origin, "a")
    await (await bench.prepare(origin.path("a"))).remove()

    async def seen_before(shelf: Shelf) -> list[Mirror]:
        return mirrors

    monkeypatch.setattr(Shelf, "mirrors", seen_before)
    assert await _everything(bench) == PrunedMirrors((), tuple(mirrors), mirrors[0].size)
    assert mirrors[0].path.is_dir()


_HOLDER = """
import asyncio, structlog, sys
from pathlib import Path
from uuid import UUID
from treadle.domain.credentials import GitCredentials
from treadle.ports import WorkspaceRequest
from treadle.workspace import GitWorkspaces

async def credentials():
    return GitCredentials()

async def main(root, organization, run, url):
    request = WorkspaceRequest(UUID(run), UUID(organization), url, "main", "work", "a", "a@b")
    workspace = await GitWorkspaces(Path(root), allow_local=True).prepare(request, credentials)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await workspace.remove()

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def _holder(bench: Bench, url: Path, run: UUID) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process with a workspace."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HOLDER, str(bench.root), str(ORGANIZATION), str(run), str(url)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_another_process_keeps_its_mirror_until_it_is_done(bench: Bench, origin: BareRepositories) -> None:
    async with _holder(bench, origin.path("demo"), uuid4()) as process:
        assert len((await _everything(bench)).used) == 1
        await process.communicate(b"\n")
        assert process.returncode == 0
        assert len((await _everything(bench)).gone) == 1
    assert bench.left() == []


async def test_a_killed_process_keeps_nothing(bench: Bench, origin: BareRepositories) -> None:
    run, living = uuid4(), await bench.prepare(origin.path("demo"), work="living")
    shelf = Shelf(bench.root)
    async with _holder(bench, origin.path("demo"), run) as process:
        assert await shelf.leavings() == pruning.Leavings()
        process.send_signal(signal.SIGKILL)
        await process.wait()
    left = await shelf.leavings()
    assert left.paths == (bench.root / "runs" / str(run),)
    assert left.size > 0
    await bench.workspaces.sweep(frozenset())
    assert await shelf.leavings() == pruning.Leavings()
    await _works(living)
    await living.remove()
    assert len((await _everything(bench)).gone) == 1


_PRUNER = """
import asyncio, structlog, sys
from pathlib import Path
from treadle.workspace.pruning import Shelf

async def main(root):
    shelf = Shelf(Path(root))
    print("ready", flush=True)
    gone = 0
    while not Path(root, "stop").exists():
        gone += len((await shelf.prune(unused_since=None, most_bytes=0)).gone)
        await shelf.clear()
    print(gone)

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(main(*sys.argv[1:]))
"""


async def test_runs_come_and_go_under_a_prune_that_never_rests(bench: Bench, origin: BareRepositories) -> None:
    """Whatever the moment, a workspace that was prepared has its objects."""
    repositories = [origin.path("demo"), origin.create("other", FILES)]
    pruners = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _PRUNER, str(bench.root), stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for pruner in pruners:
            assert pruner.stdout is not None
            assert await pruner.stdout.readline() == b"ready\n"

        async def work(task: int) -> None:
            for number in range(10):
                url = repositories[number % 2]
                workspace = await bench.prepare(url, work=f"work-{task}-{number}")
                await _works(workspace)
                await workspace.remove()

        await asyncio.gather(*map(work, range(3)))
        # Now that nobody has the mirrors the pruners take both, whatever they met before.
        async with asyncio.timeout(120):
            while list(_folder(bench).glob("*.git")):  # noqa: ASYNC110 - other processes do it
                await asyncio.sleep(0.01)
        (bench.root / "stop").touch()
        gone = [int((await pruner.communicate())[0]) for pruner in pruners]
    finally:
        for pruner in pruners:
            if pruner.returncode is None:
                pruner.kill()
                await pruner.wait()
    assert sum(gone) >= 2
    await _everything(bench)
    assert list(_folder(bench).iterdir()) == []


# ---- what is left half -----------------------------------------------------------------------------------------------

_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from treadle.workspace import pruning

async def die(path):
    if path.exists():  # the mirror has lost its name, and nothing of it is removed yet
        os.kill(os.getpid(), signal.SIGKILL)

pruning.remove_tree = die
asyncio.run(pruning.Shelf(Path(sys.argv[1])).prune(unused_since=None, most_bytes=0))
"""


async def test_a_prune_that_is_killed_leaves_no_half_mirror(bench: Bench, origin: BareRepositories) -> None:
    await _mirrors(bench, origin, "a", "b")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED, str(bench.root))
    assert await process.wait() == -signal.SIGKILL
    assert sorted(path.suffix for path in _folder(bench).iterdir()) == [".git", ".gone", ".lock"]
    again = await bench.prepare(origin.path("a"))
    assert not again.prepared.is_warm
    await _works(again)
    await again.remove()
    shelf = Shelf(bench.root)
    left = await shelf.leavings()
    assert [path.suffix for path in left.paths] == [".gone"]
    assert left.size > 200_000
    assert len((await _everything(bench)).gone) == 2, "what lies in the way is no hindrance"
    await shelf.clear()
    assert list(_folder(bench).iterdir()) == []


async def test_clones_that_nobody_completes_go(bench: Bench, origin: BareRepositories) -> None:
    [mirror] = await _mirrors(bench, origin, "a")
    (_folder(bench) / "ab.part").mkdir()
    (_folder(bench) / "ab.part" / "objects").touch()
    busy = FileLock.take(_folder(bench) / "cd.lock")
    assert busy is not None
    (_folder(bench) / "cd.part").mkdir()
    shelf = Shelf(bench.root)
    assert (await shelf.leavings()).paths == (_folder(bench) / "ab.part",)
    await shelf.clear()
    assert (await shelf.leavings()).paths == ()
    assert {path.name for path in _folder(bench).iterdir()} >= {"cd.part", "cd.lock", mirror.path.name}
    assert not list(_folder(bench).glob("ab.*"))
    busy.release()


async def test_two_prunes_at_once_are_one(bench: Bench, origin: BareRepositories) -> None:
    mirrors = await _mirrors(bench, origin, "a", "b", "c")
    done = await asyncio.gather(*(_everything(bench) for _ in range(4)))
    gone = [mirror.path for one in done for mirror in one.gone]
    assert sorted(gone) == sorted(mirror.path for mirror in mirrors)
    await Shelf(bench.root).clear()
    assert _names(bench) <= {".lock"}


async def test_where_there_is_nothing_nothing_is_made(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "none")
    assert await shelf.prune(unused_since=LONG_AGO, most_bytes=0) == PrunedMirrors()
    assert await shelf.leavings() == pruning.Leavings()
    await shelf.clear()
    assert not (tmp_path / "none").exists()


# ---- locks on directories --------------------------------------------------------------------------------------------


def test_a_directory_is_shared_or_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert DirectoryLock.take(folder, shared=True) is None
    folder.mkdir()
    first, second = (DirectoryLock.take(folder, shared=True) for _ in range(2))
    assert first is not None
    assert second is not None
    assert DirectoryLock.take(folder, shared=False) is None
    first.release()
    first.release()
    assert DirectoryLock.take(folder, shared=False) is None
    second.release()
    own = DirectoryLock.take(folder, shared=False)
    assert own is not None
    assert DirectoryLock.take(folder, shared=True) is None
    own.release()


def test_a_lock_on_a_directory_that_lost_its_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    flock = fcntl.flock

    def rename_and_lock(fd: int, how: int) -> None:
        folder.rename(tmp_path / "gone")
        folder.mkdir()
        flock(fd, how)

    with monkeypatch.context() as patch:
        patch.setattr("treadle.workspace.locks.fcntl.flock", rename_and_lock)
        assert DirectoryLock.take(folder, shared=True) is None
    lock = DirectoryLock.take(folder, shared=True)
    assert lock is not None
    lock.release()

"""Mirrors: one for each repository and organization, shared by runs, and fit for use whatever died in them."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.git_server import GitServer, Kind
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import IDENTITY, ORGANIZATION, Bench, git, permitted, script, until_there

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import Unavailable
from treadle.workspace.locks import FileLock, LockTable

pytestmark = pytest.mark.anyio

GOOD = GitCredentials(http="ada:secret-word")


def _mirror(bench: Bench) -> Path:
    [found] = (bench.root / "mirrors" / str(ORGANIZATION)).glob("*.git")
    return found


async def test_names_of_one_repository_share_a_mirror(bench: Bench, git_server: GitServer) -> None:
    url = git_server.url("demo")
    await bench.prepare(url, credentials=GOOD)
    for same in (f"{url}/", url.replace("http://", "HTTP://")):
        assert (await bench.prepare(same, credentials=GOOD)).prepared.is_warm
    assert len(list((bench.root / "mirrors" / str(ORGANIZATION)).iterdir())) == 2  # and its lock


async def test_many_runs_at_once_make_one_mirror(bench: Bench, git_server: GitServer) -> None:
    made = await asyncio.gather(
        *(bench.prepare(git_server.url("demo"), work=f"work-{number}", credentials=GOOD) for number in range(6))
    )
    assert sorted(workspace.prepared.is_warm for workspace in made) == [False, *[True] * 5]
    for workspace in made:
        (workspace.box.work_tree / "new").touch()
        await workspace.commit("Add", uuid4())
    await asyncio.gather(*(workspace.push(permitted) for workspace in made))
    assert len(git_server.branches("demo")) == 7


async def test_nothing_secret_is_written(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    (workspace.box.work_tree / "new").touch()
    await workspace.commit("Add", uuid4())
    await workspace.push(permitted)
    for path in bench.root.rglob("*"):
        assert not path.is_file() or b"secret-word" not in path.read_bytes()


async def test_objects_that_runs_borrow_never_vanish(bench: Bench, origin: BareRepositories) -> None:
    """The branch is deleted and the mirror cleaned up as Git would; the run goes on."""
    origin.git("demo", "branch", "work", "main")
    origin.commit("demo", {"only here": "x\n"}, branch="work")
    workspace = await bench.prepare(origin.path("demo"))
    origin.git("demo", "branch", "-D", "work")
    await bench.prepare(origin.path("demo"), work="other")
    git("--git-dir", _mirror(bench), "gc", "--quiet")
    (workspace.box.work_tree / "only here").unlink()
    commit = await workspace.commit("Remove", uuid4())
    assert commit is not None
    assert commit.deletions == 1
    await workspace.push(permitted)


async def test_a_checkout_begun_on_what_the_mirror_had_ends_on_what_the_remote_has(
    bench: Bench, origin: BareRepositories
) -> None:
    origin.git("demo", "branch", "work", "main")
    origin.commit("demo", {"src/main.py": "print(2)\n", "gone": "x\n"}, branch="work")
    await bench.prepare(origin.path("demo"))
    origin.git("demo", "branch", "-D", "work")
    back = await bench.prepare(origin.path("demo"))
    assert back.prepared.is_new_branch
    assert (back.box.work_tree / "src/main.py").read_text() == "print(1)\n"
    assert not (back.box.work_tree / "gone").exists()
    assert await back.changed_paths() == ()
    assert git("status", "--porcelain", cwd=back.box.work_tree) == ""
    (back.box.work_tree / "src/main.py").write_text("print(3)\n")
    assert await back.changed_paths() == ("src/main.py",)


async def test_what_a_killed_process_left_is_in_nobodys_way(bench: Bench, origin: BareRepositories) -> None:
    await bench.prepare(origin.path("demo"))
    mirror = _mirror(bench)
    (mirror / "packed-refs.lock").touch()
    (mirror / "refs/heads").mkdir(exist_ok=True)
    (mirror / "refs/heads/main.lock").touch()
    (mirror / "objects/pack/tmp_pack_x").touch()
    (mirror / "objects/tmp_objdir-x").mkdir()
    mirror.with_suffix(".part").mkdir()
    new = origin.commit("demo", {"a": "1\n"})
    assert (await bench.prepare(origin.path("demo"))).prepared.source_sha == new
    assert not list((mirror / "objects").glob("**/tmp_*"))


async def test_a_clone_that_was_cut_short_is_begun_anew(bench: Bench, origin: BareRepositories) -> None:
    await (await bench.prepare(origin.path("demo"))).remove()
    mirror = _mirror(bench)
    mirror.rename(mirror.with_suffix(".part"))
    assert not (await bench.prepare(origin.path("demo"))).prepared.is_warm


async def test_loose_references_are_packed_in_time(
    bench: Bench, origin: BareRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.workspace.mirrors.MAX_LOOSE_REFS", 2)
    await bench.prepare(origin.path("demo"))
    for name in ("a", "b", "c"):
        origin.git("demo", "branch", name, "main")
    workspace = await bench.prepare(origin.path("demo"))
    assert not [path for path in (_mirror(bench) / "refs").rglob("*") if path.is_file()]
    assert "origin/c" in git("branch", "-r", cwd=workspace.box.work_tree)
    assert (await bench.prepare(origin.path("demo"))).prepared.is_warm


async def test_objects_are_rolled_up_in_time_and_none_is_lost(
    bench: Bench, origin: BareRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.git("demo", "branch", "work", "main")
    tip = origin.commit("demo", {"only here": "x\n"}, branch="work")
    workspace = await bench.prepare(origin.path("demo"))
    origin.git("demo", "branch", "-D", "work")
    for number in range(5):
        origin.commit("demo", {f"{number}": f"{number}\n"})
        monkeypatch.setattr("treadle.workspace.mirrors.MAX_LOOSE_OBJECTS", 6_700 if number < 4 else -1)
        await (await bench.prepare(origin.path("demo"), work=f"work-{number}")).remove()
    objects = _mirror(bench) / "objects"
    assert len(list((objects / "pack").glob("*.pack"))) == 1
    assert not [path for path in objects.iterdir() if len(path.name) == 2]
    assert git("--git-dir", _mirror(bench), "cat-file", "-t", tip).strip() == "commit"
    (workspace.box.work_tree / "only here").unlink()
    assert await workspace.commit("Remove", uuid4()) is not None
    await workspace.push(permitted)


async def test_a_repository_with_longer_hashes(bench: Bench, tmp_path: Path) -> None:
    bare = tmp_path / "long.git"
    git("init", "-q", "--bare", "--object-format=sha256", bare)
    tree = git("--git-dir", bare, "mktree").strip()
    commit = git(*IDENTITY, "--git-dir", bare, "commit-tree", "-m", "x", tree).strip()
    git("--git-dir", bare, "update-ref", "refs/heads/main", commit)
    for work in ("cold", "warm"):
        workspace = await bench.prepare(bare, work=work)
        (workspace.box.work_tree / "new").write_text("new\n")
        made = await workspace.commit("Add", uuid4())
        assert made is not None
        assert len(made.sha) == 64
        assert await workspace.push(permitted) == made.sha
        assert git("status", "--porcelain", cwd=workspace.box.work_tree) == ""
        summary = await workspace.write_diff(tmp_path / "json", tmp_path / "patch")
        assert (summary.files, summary.additions) == (1, 1)


async def test_a_mirror_that_others_keep_is_waited_for_no_longer_than_allowed(
    bench: Bench, origin: BareRepositories
) -> None:
    await bench.prepare(origin.path("demo"))
    lock = FileLock.take(_mirror(bench).with_suffix(".lock"))
    assert lock is not None
    try:
        with pytest.raises(Unavailable, match="Other runs kept the mirror"):
            await bench.prepare(origin.path("demo"), workspaces=bench.make(command_seconds=2.0))
    finally:
        lock.release()
    assert (await bench.prepare(origin.path("demo"))).prepared.is_warm


_WORKER = """
import asyncio, sys
from pathlib import Path
from uuid import UUID, uuid4
from treadle.domain.credentials import GitCredentials
from treadle.ports import WorkspaceRequest
from treadle.workspace import GitWorkspaces

async def credentials():
    return GitCredentials(http="ada:secret-word")

async def main(root, organization, url):
    request = WorkspaceRequest(uuid4(), UUID(organization), url, "main", "work", "a", "a@b")
    await GitWorkspaces(Path(root), allow_private_hosts=True).prepare(request, credentials)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_worker_killed_while_it_fetches_blocks_nobody(bench: Bench, git_server: GitServer) -> None:
    """Its Git may live on for a while: until that is gone, the lock is not free."""
    gate = git_server.hold(Kind.UPLOAD)
    url = git_server.url("demo")
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _WORKER, str(bench.root), str(ORGANIZATION), url), stderr=subprocess.DEVNULL
    )
    await asyncio.to_thread(gate.wait)
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    [lock] = (bench.root / "mirrors" / str(ORGANIZATION)).glob("*.lock")
    assert FileLock.take(lock) is None  # Git holds it
    preparing = asyncio.create_task(bench.prepare(url, credentials=GOOD))
    gate.release()
    workspace = await preparing
    assert not workspace.prepared.is_warm
    await bench.workspaces.sweep(frozenset())
    assert [path.name for path in bench.left() if path.is_dir()] == [workspace.box.work_tree.parent.name]


# ---- locks -----------------------------------------------------------------------------------------------------------


async def test_a_lock_is_held_once(tmp_path: Path) -> None:
    table, path = LockTable(), tmp_path / "lock"
    order: list[str] = []

    async def hold(name: str) -> None:
        async with table.holding(path, 10):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    await asyncio.gather(*(hold(str(number)) for number in range(5)))
    assert order == [f"{number} {what}" for number in range(5) for what in ("in", "out")]
    assert table._queues == {}


async def test_waiting_ends(tmp_path: Path) -> None:
    table, path = LockTable(), tmp_path / "lock"
    async with table.holding(path, 1):
        with pytest.raises(TimeoutError):
            async with table.holding(path, 0.05):
                raise AssertionError
    async with table.holding(path, 1):
        pass


async def test_a_lock_whose_file_was_removed_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = FileLock.take(path)
    assert first is not None
    assert FileLock.take(path) is None
    waiting = asyncio.create_task(FileLock.wait(path, 60))
    await asyncio.sleep(0)
    first.remove()
    first.remove()
    second = await waiting
    assert path.exists()
    assert FileLock.take(path) is None
    second.release()


async def test_children_keep_a_lock(tmp_path: Path) -> None:
    path, there = tmp_path / "lock", tmp_path / "there"
    lock = FileLock.take(path)
    assert lock is not None
    child = await asyncio.create_subprocess_exec(
        script(tmp_path / "child", f"touch '{there}'; read line"), stdin=subprocess.PIPE, pass_fds=(lock.fd,)
    )
    await until_there(there, asyncio.create_task(child.wait()))
    lock.release()
    assert FileLock.take(path) is None
    await child.communicate(b"\n")
    free = FileLock.take(path)
    assert free is not None
    free.release()

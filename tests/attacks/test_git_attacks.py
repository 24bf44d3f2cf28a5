"""What an agent, or a repository, may try against the service's own Git.

A scripted agent writes into the work tree whatever a real one could; then the service does all that it ever does there.
Each test's docstring names the defence that it fails without. Further ones of the kind are in
`tests/unit/workspace/test_attacks.py`.
"""

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.clis import give_up
from tests.support.git_traps import Trap
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import FILES, IDENTITY, Bench, git, permitted

from treadle import command
from treadle.domain.errors import ConfigurationError, GitError, RebaseConflict, RunError, WorkspaceError
from treadle.sandbox import SANDBOXES
from treadle.settings import Settings
from treadle.workspace import git as service_git
from treadle.workspace import guard, mirrors
from treadle.workspace.delivery import Delivery
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio

#: Long for all that a test does, and short where Git would wait for ever.
SECONDS = 120.0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        made = Bench(tmp_path / "data", stack)
        made.workspaces = made.make(command_seconds=SECONDS)
        stack.callback(made.forget)
        yield made


@pytest.fixture
def origin(tmp_path: Path) -> BareRepositories:
    root = tmp_path / "origin"
    root.mkdir()
    repositories = BareRepositories(root)
    repositories.create("demo", FILES)
    return repositories


@pytest.fixture
def trap(tmp_path: Path, origin: BareRepositories) -> Trap:
    return Trap(tmp_path / "trap", instead_of=str(origin.path("demo")))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that is nobody's business: neither to be read nor to be changed."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "main.py").write_text("precious\n")
    (directory / "main.py").chmod(0o640)
    return directory


def untouched(outside: Path) -> bool:
    names = sorted(path.name for path in outside.iterdir())
    file = outside / "main.py"
    return names == ["main.py"] and file.read_text() == "precious\n" and stat.S_IMODE(file.stat().st_mode) == 0o640


def no_secret(_text: str) -> bool:
    return False


def move(origin: BareRepositories) -> None:
    """Somebody else pushes to the work branch, so that the next push has to rebase."""
    origin.git("demo", "branch", "work", "main")
    origin.commit("demo", {"theirs.txt": "theirs\n"}, branch="work")


async def everything(workspace: GitWorkspace, scratch: Path) -> str:
    """Each thing that the service ever does with a work tree, a rebase included; the pushed commit."""
    await workspace.changed_paths()
    patch = await workspace.patch()
    await workspace.undo()
    await workspace.apply(patch)
    await workspace.changed_paths()
    await workspace.unversioned()
    await workspace.find_secrets(no_secret)
    assert await workspace.commit("Change", uuid4()) is not None
    await workspace.compare()
    pushed = await workspace.push(permitted)
    await workspace.write_diff(scratch / "json", scratch / "patch")
    await workspace.write_diff(scratch / "json", scratch / "patch", of_last_commit=True)
    await workspace.lock_files(frozenset({"README.md"}))
    await workspace.restore_submodules()
    await workspace.undo()
    return pushed


def _look(directory: Path) -> None:
    """As the agent, or a person, would; with whatever that repository is configured to run."""
    subprocess.run(["git", "status"], cwd=directory, capture_output=True, check=False)


# ---- what Git can be made to run -------------------------------------------------------------------------------------


def in_config(tree: Path, trap: Trap) -> None:
    trap.configure(tree / ".git/config")


def in_worktree_config(tree: Path, trap: Trap) -> None:
    git("config", "extensions.worktreeConfig", "true", cwd=tree)
    trap.configure(tree / ".git/config.worktree")


def by_include(tree: Path, trap: Trap) -> None:
    trap.configure(tree / "harmless.txt")
    git("config", "includeIf.gitdir:**.path", str(tree / "harmless.txt"), cwd=tree)
    git("config", "include.path", str(tree / "harmless.txt"), cwd=tree)


def by_common_directory(tree: Path, trap: Trap) -> None:
    common = tree / "common"
    shutil.copytree(tree / ".git", common)
    trap.configure(common / "config")
    (tree / ".git/commondir").write_text("../common\n")


def by_git_file(tree: Path, trap: Trap) -> None:
    crafted = trap.folder / "crafted"
    shutil.move(tree / ".git", crafted)
    trap.configure(crafted / "config")
    (tree / ".git").write_text(f"gitdir: {crafted}\n")


def by_link(tree: Path, trap: Trap) -> None:
    crafted = trap.folder / "crafted"
    shutil.move(tree / ".git", crafted)
    trap.configure(crafted / "config")
    (tree / ".git").symlink_to(crafted)


@pytest.mark.parametrize(
    "plant", [in_config, in_worktree_config, by_include, by_common_directory, by_git_file, by_link]
)
async def test_no_configuration_of_the_agents_counts(
    bench: Bench,
    origin: BareRepositories,
    trap: Trap,
    tmp_path: Path,
    plant: Callable[[Path, Trap], None],
) -> None:
    """Filters, fsmonitor, hooks, sshCommand, gitProxy, external diffs, merge drivers, gpg, credential helpers,
    insteadOf and so on: the trap is sprung by a Git of the agent's, and by none of the service's.
    Defence: `Git.argv` always gives the private git-dir (`git.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    plant(tree, trap)
    (tree / ".gitattributes").write_text("* filter=trap diff=trap merge=trap\n*.bin filter=process\n")
    (tree / "README.md").write_text("changed\n")
    _look(tree)
    assert trap.take_mark()
    move(origin)
    await everything(workspace, tmp_path)
    assert not trap.take_mark()
    assert git("--git-dir", trap.elsewhere, "for-each-ref") == ""
    assert "theirs.txt" in origin.files("demo", "work")
    again = await bench.prepare(origin.path("demo"))
    assert (again.box.work_tree / "README.md").read_text() == "changed\n"
    assert not trap.take_mark()


async def test_repositories_inside_the_tree_run_nothing(
    bench: Bench, origin: BareRepositories, trap: Trap, tmp_path: Path
) -> None:
    """One with a work tree, one within that, and a bare one's files: all become files.
    Defence: `_drop_repositories`, without which they would be committed as submodules (`workspace.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    for inner in ("lib", "lib/deeper"):
        git("init", "-q", tree / inner)
        (tree / inner / "file").write_text("x\n")
        (tree / inner / ".gitattributes").write_text("* filter=trap\n")
        git(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "x", cwd=tree / inner)
        trap.configure(tree / inner / ".git/config")
    git("init", "-q", "--bare", tree / "bare")
    trap.configure(tree / "bare/config")
    git("-C", str(tree / "bare"), "config", "core.worktree", str(tree))
    _look(tree / "lib")
    assert trap.take_mark()
    await everything(workspace, tmp_path)
    assert not trap.take_mark()
    assert not [path for path in origin.files("demo", "work") if ".git/" in path]
    assert {"lib/file", "lib/deeper/file"} <= set(origin.files("demo", "work"))


@pytest.mark.parametrize("name", [".GIT", ".Git", "git~1", ".g\u200cit", ".git ", ".git."])
async def test_what_another_system_takes_for_a_repository_is_not_committed(
    bench: Bench, origin: BareRepositories, trap: Trap, name: str
) -> None:
    """On a Mac or on Windows each of these names is `.git`: whoever clones there would run what is in it.
    Defence: `core.protectHFS`, `core.protectNTFS` (`git.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    trap.configure(tree / name / "config")
    (tree / "new").touch()
    with pytest.raises(GitError, match="cannot be committed: invalid path"):
        await workspace.commit("Add", uuid4())
    await workspace.undo()
    assert not (tree / name).exists()
    (tree / "new").touch()
    assert await workspace.commit("Add", uuid4()) is not None
    assert not trap.take_mark()


async def test_objects_of_others_cannot_be_borrowed(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    """The agent's `.git` names another's mirror as its store, and its index a file from there.
    Defence: the service's own index and alternates; the agent's `.git` is made anew (`agent_git.py`)."""
    origin.create("theirs", {"secret.txt": "theirs\n"})
    theirs = await bench.prepare(origin.path("theirs"))
    blob = origin.git("theirs", "rev-parse", "main:secret.txt").strip()
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    with (tree / ".git/objects/info/alternates").open("a") as alternates:
        alternates.write(f"{theirs.box.readable[1]}\n")
    git("update-index", "--add", "--cacheinfo", f"100644,{blob},stolen.txt", cwd=tree)
    git(*IDENTITY, "commit", "-q", "-m", "Steal it", cwd=tree)
    assert git("show", "HEAD:stolen.txt", cwd=tree) == "theirs\n"
    (tree / "new").touch()
    await everything(workspace, tmp_path)
    assert "stolen.txt" not in origin.files("demo", "work")
    with pytest.raises(subprocess.CalledProcessError):
        origin.git("demo", "cat-file", "-e", blob)
    assert str(theirs.box.readable[1]) not in (tree / ".git/objects/info/alternates").read_text()


# ---- what is no file -------------------------------------------------------------------------------------------------


async def test_links_are_committed_and_never_followed(
    bench: Bench, origin: BareRepositories, outside: Path, tmp_path: Path
) -> None:
    """To a file and to a directory outside, in the place of a tracked file and of a tracked directory.
    Defence: Git's own, and `open_beneath` (`removal.py`) for what is removed."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree

    def plant() -> None:
        shutil.rmtree(tree / "src")
        (tree / "src").symlink_to(outside)
        (tree / "README.md").unlink()
        (tree / "README.md").symlink_to(outside / "main.py")
        (tree / "new").symlink_to("../../../../../../../../etc/passwd")

    plant()
    assert await workspace.undo() != ()
    assert (tree / "src/main.py").read_text() == "print(1)\n"
    assert untouched(outside)
    plant()
    await everything(workspace, tmp_path)
    assert untouched(outside)
    listed = git("--git-dir", origin.path("demo"), "ls-tree", "work", "src", "README.md", "new")
    assert [line.split()[0] for line in listed.splitlines()] == ["120000"] * 3
    await workspace.remove()
    assert untouched(outside)


async def test_a_directory_that_becomes_a_link_after_the_look(
    bench: Bench, origin: BareRepositories, outside: Path
) -> None:
    """Of an agent that left something running, where no sandbox ends it: what was examined is what is committed.
    Defence: `commit` uses what `find_secrets` staged (`workspace.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    (tree / "src/main.py").write_text("print(2)\n")
    await workspace.find_secrets(no_secret)
    shutil.rmtree(tree / "src")
    (tree / "src").symlink_to(outside)
    assert await workspace.commit("Change", uuid4()) is not None
    await workspace.push(permitted)
    assert origin.show("demo", "work", "src/main.py") == b"print(2)\n"
    await workspace.undo()
    assert untouched(outside)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, tempfile.TemporaryDirectory() as short:
        made.bind(f"{short}/s")
        shutil.move(f"{short}/s", path)


@pytest.mark.parametrize("make", [fifo, unix_socket])
@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *((".", name) for name in guard.GIT_FILES),
        *((folder, name) for folder in ("src", "new") for name in (".gitignore", ".gitattributes")),
    ],
)
async def test_git_is_not_held_up_by_what_it_reads(
    bench: Bench,
    origin: BareRepositories,
    tmp_path: Path,
    make: Callable[[Path], None],
    name: str,
    folder: str,
) -> None:
    """A FIFO in the place of such a file would be waited for until the command's time is up.
    Defence: `check_git_files` (`guard.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    place = workspace.box.work_tree / folder
    place.mkdir(exist_ok=True)
    (place / name).unlink(missing_ok=True)
    make(place / name)
    (place / "file").touch()
    move(origin)
    await everything(workspace, tmp_path)
    make(place / name)
    await workspace.write_diff(tmp_path / "json", tmp_path / "patch")


@pytest.mark.parametrize("make", [fifo, unix_socket])
async def test_what_is_neither_file_nor_link_is_not_committed(
    bench: Bench, origin: BareRepositories, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Beside the files it is no change; in the place of one the step fails, and can be undone. Defence: Git's own."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    make(tree / "special")
    (tree / "new").touch()
    await everything(workspace, tmp_path)
    assert set(origin.files("demo", "work")) == {*FILES, "new"}
    (tree / "README.md").unlink()
    make(tree / "README.md")
    with pytest.raises(GitError, match=r"README\.md: can only add regular files"):
        await workspace.commit("Change", uuid4())
    await workspace.undo()
    assert (tree / "README.md").read_text() == FILES["README.md"]


# ---- names -----------------------------------------------------------------------------------------------------------

NAMES = (
    *(
        b"line\nfeed",
        b"tab\there",
        b'quo"te',
        b"apo'strophe",
        b"back\\slash",
        b"not-\xff-utf8",
        b"\x01\x1b[31m",
        b" x ",
    ),
    *(b"-rf", b"--all", b"-", b"--upload-pack=x", b"-u\ntouch sprung", b"$(touch sprung)", b"`touch sprung`", b";id"),
    *(
        b":(top)x",
        b":!x",
        b":(exclude)*",
        b":(attr:x)y",
        b"*",
        b"?[a]",
        b"{a,b}",
        b"~",
        b"HEAD",
        b"@{u}",
        b"...",
    ),
    *(b"a -> b", b"a => b", b"{a => b}", b"diff --git a b", b"CON", b"index.lock", b"x" * 255),
)


async def test_any_name_is_a_name(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    """As files, as directories, renamed and deleted again: each arrives as it is.
    Defence: `-z`, `--`, `--literal-pathspecs`, and no shell."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = os.fsencode(workspace.box.work_tree)
    _make_names(tree)
    await everything(workspace, tmp_path)
    expected = {b"f" + name[:254] for name in NAMES} | {name + b"/" + name for name in NAMES}
    assert _files(origin) == {*map(os.fsencode, FILES), *expected}
    _rename_names(tree)
    await everything(workspace, tmp_path)
    assert _files(origin) == {*map(os.fsencode, FILES), *NAMES}


def _make_names(tree: bytes) -> None:
    for name in NAMES:
        Path(os.fsdecode(tree + b"/f" + name[:254])).write_text("x\n")
        Path(os.fsdecode(tree + b"/" + name)).mkdir()
        Path(os.fsdecode(tree + b"/" + name + b"/" + name)).write_text("x\n")


def _rename_names(tree: bytes) -> None:
    for name in NAMES:
        shutil.rmtree(tree + b"/" + name)
        Path(os.fsdecode(tree + b"/f" + name[:254])).rename(os.fsdecode(tree + b"/" + name))


def _files(origin: BareRepositories) -> set[bytes]:
    done = subprocess.run(
        ["git", "--git-dir", origin.path("demo"), "ls-tree", "-r", "-z", "--name-only", "work"],
        capture_output=True,
        check=True,
    )
    return set(done.stdout.split(b"\0")) - {b""}


@pytest.mark.parametrize(("name", "levels"), [("d", 10_000), ("d" * 200, 21)])
async def test_deep_directories(bench: Bench, origin: BareRepositories, tmp_path: Path, name: str, levels: int) -> None:
    """Deeper than a path may be long, or just as long. Either the step fails with a sentence, or it goes on without
    what no path leads to; the workspace goes away in any case.
    Defence: `rm`, which knows no depth that is too deep (`removal.py`); Git's own bounds."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    deep = os.open(tree, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=deep)
        below = os.open(name, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    with suppress(OSError):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=deep))
    os.close(deep)
    (tree / "new").touch()
    with suppress(RunError):
        commit = await workspace.commit("Add", uuid4())
        assert commit is not None
        assert "new" in git("--git-dir", tree.parent / "git", "ls-tree", commit.sha)
    await workspace.remove()
    assert bench.left() == []


# ---- too much --------------------------------------------------------------------------------------------------------


async def test_a_sparse_file_of_ten_gigabytes(bench: Bench, origin: BareRepositories) -> None:
    """Refused before Git reads it; the disk holds no more than before.
    Defence: `check_changes` (`guard.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    for plant in (tree / "large", tree / "README.md"):
        os.truncate(plant, 10 << 30) if plant.exists() else _sparse(plant, 10 << 30)
        for attempt in (
            workspace.patch,
            partial(workspace.find_secrets, no_secret),
            partial(workspace.commit, "x", uuid4()),
        ):
            with pytest.raises(WorkspaceError, match="more than 1,024 MiB"):
                await attempt()
        assert await workspace.undo() == (plant.name,)
    stored = sum(path.stat().st_size for path in (tree.parent / "git/objects").rglob("*") if path.is_file())
    assert stored < 1 << 20


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize("name", guard.GIT_FILES)
async def test_a_huge_file_that_git_reads_whole(bench: Bench, origin: BareRepositories, name: str) -> None:
    """Ten gigabytes of patterns would be read into memory. Defence: `check_git_files` (`guard.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    (workspace.box.work_tree / name).unlink(missing_ok=True)
    _sparse(workspace.box.work_tree / name, 10 << 30)
    for attempt in (workspace.changed_paths, workspace.undo, workspace.patch):
        with pytest.raises(WorkspaceError, match=rf"'{name}' is larger than 1 MiB"):
            await attempt()


async def test_a_link_in_the_place_of_gitmodules(bench: Bench, origin: BareRepositories, outside: Path) -> None:
    """Git would follow it. Defence: `check_git_files` (`guard.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    (workspace.box.work_tree / ".gitmodules").symlink_to(outside / "main.py")
    with pytest.raises(WorkspaceError, match="symbolic link"):
        await workspace.commit("Link", uuid4())


async def test_too_many_files(bench: Bench, origin: BareRepositories, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that a repository inside the tree hides at first. Defence: `check_changes` (`guard.py`)."""
    monkeypatch.setattr(guard, "MAX_CHANGED_FILES", 1_000)
    workspace = await bench.prepare(origin.path("demo"))
    inner = workspace.box.work_tree / "inner"
    git("init", "-q", inner)
    git(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "x", cwd=inner)
    for number in range(1_001):
        (inner / str(number)).touch()
    with pytest.raises(WorkspaceError, match="More than 1,000 files were changed"):
        await workspace.commit("Many", uuid4())
    shutil.rmtree(inner)
    (workspace.box.work_tree / "new").touch()
    assert await workspace.commit("Few", uuid4()) is not None


#: Enough for all that the service's Git does with small files.
_LITTLE_MEMORY = 128 << 20

#: Too many to be compared within it.
_LINES = 8_000_000


async def test_a_file_of_very_many_lines(
    bench: Bench, origin: BareRepositories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred bytes are taken for each line feed: 15 MB took 1.6 GiB. The step fails with a sentence, and can be
    undone; so does a diff of such a commit. Defence: `MAX_MEMORY_BYTES` (`git.py`)."""
    workspace = await bench.prepare(origin.path("demo"))
    large = workspace.box.work_tree / "large"
    large.write_bytes(b"\n" * _LINES)
    refusal = r"^git diff(-index)? needs more than 128 MiB of memory"
    with monkeypatch.context() as limited:
        limited.setattr(service_git, "MAX_MEMORY_BYTES", _LITTLE_MEMORY)
        for attempt in (
            workspace.patch,
            partial(workspace.find_secrets, no_secret),
            partial(workspace.commit, "x", uuid4()),
        ):
            with pytest.raises(WorkspaceError, match=refusal):
                await attempt()
        assert await workspace.undo() == ("large",)
        (workspace.box.work_tree / "new").touch()
        await everything(workspace, tmp_path)
    large.write_bytes(b"\n" * _LINES)
    assert await workspace.commit("Add", uuid4()) is not None
    monkeypatch.setattr(service_git, "MAX_MEMORY_BYTES", _LITTLE_MEMORY)
    with pytest.raises(WorkspaceError, match=refusal):
        await workspace.write_diff(tmp_path / "json", tmp_path / "patch", of_last_commit=True)


async def test_a_large_file_of_very_many_lines(
    bench: Bench, origin: BareRepositories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as binary, and needs no more memory than others. Defence: `MAX_TEXT_BYTES` (`git.py`)."""
    monkeypatch.setattr(service_git, "MAX_MEMORY_BYTES", _LITTLE_MEMORY)
    workspace = await bench.prepare(origin.path("demo"))
    (workspace.box.work_tree / "large").write_bytes(b"\n" * (service_git.MAX_TEXT_BYTES + 1))
    assert await workspace.commit("Add", uuid4()) is not None
    summary = await workspace.write_diff(tmp_path / "json", tmp_path / "patch", of_last_commit=True)
    assert (summary.files, summary.additions) == (1, 0)
    await workspace.push(permitted)


# ---- hostile repositories --------------------------------------------------------------------------------------------


def _tree(bare: Path, *entries: tuple[str, str, bytes]) -> str:
    """An object of its own making: Git's own commands would refuse many of these."""
    data = b"".join(mode.lstrip("0").encode() + b" " + name + b"\0" + bytes.fromhex(sha) for mode, sha, name in entries)
    arguments = ("hash-object", "-t", "tree", "-w", "--literally", "--stdin")
    return git("--git-dir", bare, *arguments, stdin=data).strip()


def _blob(bare: Path, data: bytes) -> str:
    return git("--git-dir", bare, "hash-object", "-w", "--stdin", stdin=data).strip()


def _serve(bare: Path, tree: str, branch: str = "main") -> None:
    commit = git(*IDENTITY, "--git-dir", bare, "commit-tree", "-m", "Crafted", tree).strip()
    git("--git-dir", bare, "update-ref", f"refs/heads/{branch}", commit)


async def test_a_tree_of_trees(bench: Bench, origin: BareRepositories) -> None:
    """10^10 paths in eleven objects. Defence: `check_extent` (`extent.py`)."""
    bare = origin.path("demo")
    kind, sha = "100644", _blob(bare, b"x")
    for _ in range(10):
        sha = _tree(bare, *((kind, sha, b"%d" % number) for number in range(10)))
        kind = "040000"
    _serve(bare, sha)
    with pytest.raises(GitError, match="more than 1,000,000 files"):
        await bench.prepare(bare)
    assert bench.left() == []


async def test_a_tree_of_the_same_large_file(bench: Bench, origin: BareRepositories) -> None:
    """Ten gigabytes a hundred times over, in a few kilobytes. Defence: `check_extent` (`extent.py`)."""
    bare = origin.path("demo")
    large = _blob(bare, bytes(64 << 20))
    inner = _tree(bare, *(("100644", large, b"%04d" % number) for number in range(2_000)))
    _serve(bare, inner)
    with pytest.raises(GitError, match="more than 64 GiB"):
        await bench.prepare(bare)
    assert bench.left() == []


async def test_too_many_references(bench: Bench, origin: BareRepositories, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defence: `MAX_REFS_BYTES` (`mirrors.py`)."""
    monkeypatch.setattr(mirrors, "MAX_REFS_BYTES", 1 << 20)
    bare = origin.path("demo")
    sha = origin.git("demo", "rev-parse", "main").strip()
    with (bare / "packed-refs").open("a") as packed:
        packed.writelines(f"{sha} refs/heads/{number:060}\n" for number in range(12_000))
    with pytest.raises(GitError, match="branches and tags take more than 1 MiB"):
        await bench.prepare(bare)
    with pytest.raises(GitError, match="branches and tags take more than 1 MiB"):
        await bench.prepare(bare)
    assert bench.left() == []


async def test_the_marks_of_a_conflict_are_short(bench: Bench, origin: BareRepositories) -> None:
    """A rebase would write each of them as long as the repository wants: 300 MB. Defence: `info/attributes`, which
    `make_git_dir` writes (`refs.py`)."""
    origin.commit("demo", {".gitattributes": "* conflict-marker-size=20000000\n"}, branch="main")
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    (tree / "theirs.txt").write_text("mine\n")
    assert await workspace.commit("Change", uuid4()) is not None
    move(origin)
    sizes = list[int]()

    async def look(delivery: Delivery, sha: str) -> None:
        sizes.append((tree / "theirs.txt").stat().st_size)
        await check_out(delivery, sha)

    check_out = Delivery._check_out
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Delivery, "_check_out", look)
        with pytest.raises(RebaseConflict, match=r"theirs\.txt"):
            await workspace.push(permitted)
    assert sizes[0] < 1_000
    assert (tree / "theirs.txt").read_text() == "mine\n"


@pytest.mark.parametrize(
    "name", [b".git", b".GIT", b"..", b".", b"/etc/x", b"git~1", ".g\u200cit".encode(), b".git\\config"]
)
async def test_paths_that_no_repository_may_have(
    bench: Bench, origin: BareRepositories, outside: Path, name: bytes
) -> None:
    """As a directory with a hook and a configuration in it. Defence: Git's own, and `core.protect…` (`git.py`)."""
    bare = origin.path("demo")
    inner = _tree(bare, ("100755", _blob(bare, b"#!/bin/sh\ntouch sprung\n"), b"config"))
    _serve(bare, _tree(bare, ("040000", inner, name)))
    with pytest.raises(GitError):
        await bench.prepare(bare)
    assert bench.left() == []
    assert untouched(outside)


async def test_a_link_and_a_directory_of_one_name(bench: Bench, origin: BareRepositories, outside: Path) -> None:
    """As CVE-2021-21300 has it: what is in the directory would be written through the link. Defence: Git's own."""
    bare = origin.path("demo")
    inner = _tree(bare, ("100644", _blob(bare, b"overwritten\n"), b"main.py"))
    link = _blob(bare, os.fsencode(outside))
    for entries in (
        (("120000", link, b"a"), ("040000", inner, b"a")),
        (("040000", inner, b"a"), ("120000", link, b"a")),
    ):
        _serve(bare, _tree(bare, *entries))
        with suppress(RunError):
            await bench.prepare(bare)
        assert untouched(outside)


@pytest.mark.parametrize(
    "url",
    [
        *("ext::sh -c 'touch sprung'", "-utouch sprung", "--upload-pack=touch", "fd::3", "../../../..", "::x"),
        *(
            "ssh://-oProxyCommand=touch/x",
            "-oProxyCommand=x:y",
            "file:///etc\n",
            "http://a\r\n@b/c",
            "git://localhost/x",
        ),
    ],
)
@pytest.mark.parametrize("path", ["lib", "lib\\r", "../outside", "src/../../outside"])
async def test_submodules(
    bench: Bench, origin: BareRepositories, outside: Path, trap: Trap, url: str, path: str
) -> None:
    """Addresses that run something, and places outside (CVE-2018-17456, CVE-2017-1000117, CVE-2025-48384, which wants a
    carriage return at a path's end). Defence: `check_url`, and that `git submodule` is not used (`submodules.py`)."""
    quoted = url.replace("\n", "\\n").replace("\r", "\r")
    gitmodules = f'[submodule "../../x"]\n\tpath = "{path}"\n\turl = "{quoted}"\n\tupdate = !{trap.script}\n'
    bare = origin.path("demo")
    sha = origin.git("demo", "rev-parse", "main").strip()
    link = _blob(bare, b"../../git/hooks")
    _serve(
        bare,
        _tree(
            bare,
            ("100644", _blob(bare, gitmodules.encode()), b".gitmodules"),
            ("160000", sha, b"lib"),
            ("120000", link, b"lib\r"),
        ),
    )
    with pytest.raises(GitError, match="submodule 'lib'"):
        await bench.prepare(bare, workspaces=bench.make(submodules=True))
    assert bench.left() == []
    workspace = await bench.prepare(bare)  # where nobody follows them
    (workspace.box.work_tree / "new").touch()
    assert await workspace.commit("Add", uuid4()) is not None
    assert untouched(outside)
    assert not trap.take_mark()


async def test_a_remote_that_is_a_trap_itself(
    bench: Bench, origin: BareRepositories, trap: Trap, tmp_path: Path
) -> None:
    """A local one, with hooks and a packObjectsHook. Defence: Git's own, which heeds that only in a configuration that
    is protected; hooks of a remote are the remote's to run when it is pushed to."""
    bare = origin.path("demo")
    with (bare / "config").open("a") as config:
        config.write(trap.configuration())
    workspace = await bench.prepare(bare)
    again = await bench.prepare(bare)
    assert not trap.take_mark()
    await workspace.remove()
    await again.remove()


async def test_a_local_repository_of_links(bench: Bench, origin: BareRepositories, outside: Path) -> None:
    """As CVE-2022-39253 has it: an object that is a link to a file of the machine. Defence: Git's own."""
    bare = origin.path("demo")
    (bare / "objects/leak").symlink_to(outside)
    with pytest.raises(GitError):
        await bench.prepare(bare)
    assert bench.left() == []


class _Counting(SimpleHTTPRequestHandler):
    def log_request(self, code: object = "-", size: object = "-") -> None:  # noqa: ARG002 - the base's
        counted: list[str] = self.server.counted  # type: ignore[attr-defined] # put there below
        counted.append(self.path)

    def log_error(self, *_arguments: object) -> None:
        """Nothing to the test's output."""


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths that were asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Counting, directory=str(folder))) as server:
        counted: list[str] = []
        server.counted = counted  # type: ignore[attr-defined] # for the handler
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", counted
        finally:
            server.shutdown()
            thread.join()


async def test_a_remote_that_sends_git_elsewhere(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    """A plain web server whose repository says that its objects are at an address within.
    Defence: `http.followRedirects`, which rules that out too (`git.py`)."""
    inner = tmp_path / "inner"
    inner.mkdir()
    bare = origin.path("demo")
    shutil.move(bare / "objects", inner / "objects")
    (bare / "objects/info").mkdir(parents=True)
    shutil.copytree(bare, tmp_path / "web/demo.git")
    git("--git-dir", tmp_path / "web/demo.git", "config", "x.y", "z")
    with _served(inner) as (within, asked), _served(tmp_path / "web") as (address, seen):
        (tmp_path / "web/demo.git/objects/info/http-alternates").write_text(f"{within}/objects\n")
        (tmp_path / "web/demo.git/info").mkdir(exist_ok=True)
        sha = (bare / "refs/heads/main").read_text().strip()
        (tmp_path / "web/demo.git/info/refs").write_text(f"{sha}\trefs/heads/main\n")
        with pytest.raises(GitError):
            await bench.prepare(f"{address}/demo.git")
        assert any("http-alternates" in path for path in seen)
        assert asked == []


# ---- through the sandbox's walls -------------------------------------------------------------------------------------

#: Tries to get hold of what is in each of its arguments, in every way there is, and says what worked.
_INTRUDER = """
for place in "$@"; do
    for file in $(find "$place" -type f 2> /dev/null | head -n 3); do
        ln "$file" /workspace/link 2> /dev/null && echo "linked $file"
        chmod u+w "$file" 2> /dev/null && echo "opened $file"
        (echo x > "$file") 2> /dev/null && echo "changed $file"
        rm -f "$file" 2> /dev/null && echo "removed $file"
    done
    mkdir -p "$place/hooks" 2> /dev/null
    touch "$place/x" "$place/HEAD" 2> /dev/null
done
mknod /workspace/device c 1 3 2> /dev/null && echo "made a device"
for place in "$@"; do [ -n "$(find "$place" -type f -size +0 2> /dev/null)" ] && echo "saw $place"; done
exit 0
"""


async def test_the_services_own_places_are_out_of_reach(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    """The mirror, the service's git-dir, other runs' workspaces, the data directory: the agent sees no more of them
    than the objects that it borrows, and changes nothing; it can make no hard link to them, nor a device.
    Defence: the sandbox's mounts (`sandbox/bubblewrap.py`)."""
    sandbox = SANDBOXES["bubblewrap"](Settings.load({"TREADLE_DATA_DIR": str(tmp_path / "data")}))
    try:
        await sandbox.check()
    except ConfigurationError as error:
        give_up(error.message)
    other = await bench.prepare(origin.path("demo"))
    workspace = await bench.prepare(origin.path("demo"))
    root, box = workspace.box.work_tree.parent, workspace.box
    places = (root, root / "git", other.box.work_tree, bench.root, bench.root / "mirrors", *box.readable)
    before = _snapshot(bench.root)
    with sandbox.enclose(("sh", "-c", _INTRUDER, "sh", *map(str, places)), {"PATH": "/usr/bin:/bin"}, box) as enclosed:
        done = await command.run(enclosed.argv, environment=enclosed.environment, seconds=SECONDS)
    assert done.exit_code == 0
    seen = {str(place) for place in places if any(shown.is_relative_to(place) for shown in box.readable)}
    assert set(done.stdout.decode().splitlines()) == {f"saw {place}" for place in seen}
    assert str(other.box.work_tree) not in seen
    assert _snapshot(bench.root) == before


def _snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_nlink, status.st_size)
    return found

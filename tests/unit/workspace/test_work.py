"""What the agent changed: seen, committed, kept as a patch, undone."""

import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import IDENTITY, Bench, git, permitted

from treadle.domain.errors import GitError, GitTimedOut, WorkspaceError
from treadle.ports import Commit
from treadle.workspace.git import refuse_full_disk

pytestmark = pytest.mark.anyio

ODD_NAMES = ("with space", "ünïcode", "new\nline", 'quo"te', "-dash", ":(top)colon", "*", "a\\b", "tab\there")


def _change_everything(tree: Path) -> None:
    """A file of each kind of change there is."""
    (tree / "README.md").write_bytes(b"changed\r\nwithout end")
    (tree / "src/data.bin").write_bytes(bytes(reversed(range(256))) * 10)
    (tree / "src/main.py").chmod(0o755)
    (tree / "src/main.py").rename(tree / "moved.py")
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "loop").symlink_to("loop")
    (tree / "empty").touch()
    (tree / "deep/er").mkdir(parents=True)
    for name in ODD_NAMES:
        (tree / "deep" / "er" / name).write_text(name)


def _listing(tree: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for folder, folders, files in os.walk(tree):
        if folder == str(tree):
            folders.remove(".git")
        for name in (*files, *(name for name in folders if Path(folder, name).is_symlink())):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            data = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else path.read_bytes()
            found[str(path.relative_to(tree))] = (mode & 0o170100, data)
    return found


async def test_commits_what_changed(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"), author=("Ada <x>", "ada@example.com"))
    tree = workspace.box.work_tree
    (tree / "README.md").write_text("# Demo\nmore\n")
    (tree / "new.txt").write_text("one\ntwo\n")
    (tree / "build").mkdir()
    (tree / "build/cache").touch()
    step = uuid4()
    commit = await workspace.commit("Add a file\nand say why", step)
    assert commit == Commit(await workspace.head(), 2, 3, 0)
    assert await workspace.compare() == (1, 0)
    assert await workspace.push(permitted) == commit.sha
    assert origin.files("demo", "work") == [".gitignore", "README.md", "new.txt", "src/data.bin", "src/main.py"]
    last = origin.log("demo", "work")[0]
    assert (last.sha, last.author, last.email) == (commit.sha, "Ada x", "ada@example.com")
    assert last.message == f"Add a file\n\nand say why\n\nTreadle-Step: {step}"
    assert await workspace.commit("Nothing", uuid4()) is None
    again = await bench.prepare(origin.path("demo"))
    assert again.prepared.trailers == {step: commit.sha}


async def test_counts_as_git_does(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    (tree / "src/main.py").rename(tree / "src/renamed.py")
    (tree / "src/data.bin").write_bytes(b"\0\1")
    (tree / "README.md").unlink()
    assert (await workspace.commit("Change", uuid4())) == Commit(await workspace.head(), 3, 0, 1)


async def test_every_kind_of_change_travels_as_a_patch(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    _change_everything(workspace.box.work_tree)
    changed = await workspace.changed_paths()
    assert {"README.md", "src/main.py", "moved.py", "link", "deep/er/new\nline", "deep/er/ünïcode"} <= set(changed)
    expected = _listing(workspace.box.work_tree)
    patch = await workspace.patch()
    assert await workspace.patch() == patch
    other = await bench.prepare(origin.path("demo"))
    await other.apply(patch)
    assert _listing(other.box.work_tree) == expected
    assert await other.patch() == patch
    assert set(await other.undo()) == set(changed)
    assert await other.changed_paths() == ()
    commit = await workspace.commit("Everything", uuid4())
    assert commit is not None
    assert _listing(workspace.box.work_tree) == expected


async def test_a_patch_of_nothing_is_empty_and_applies(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    assert await workspace.patch() == b""
    await workspace.apply(b"")
    assert await workspace.changed_paths() == ()


async def test_a_patch_that_does_not_fit_changes_nothing(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    (workspace.box.work_tree / "README.md").write_text("# Other\n")
    patch = await workspace.patch()
    await workspace.undo()
    origin.commit("demo", {"README.md": "# Third\n"})
    later = await bench.prepare(origin.path("demo"))
    with pytest.raises(GitError, match="git apply failed"):
        await later.apply(patch)
    assert await later.changed_paths() == ()


async def test_undo_restores_the_last_commit_and_keeps_what_is_ignored(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    before = _listing(tree)
    _change_everything(tree)
    (tree / "src").rename(tree / "elsewhere")
    outside = tree.parent / "outside"
    outside.mkdir()
    (outside / "main.py").write_text("mine\n")
    (tree / "src").symlink_to(outside)
    (tree / "x.log").write_text("kept\n")
    git("init", "-q", tree / "nested")
    (tree / "nested/file").touch()
    undone = await workspace.undo()
    assert {"README.md", "src", "elsewhere/data.bin", "nested/"} - set(undone) == set()
    assert _listing(tree) == before | {"x.log": (stat.S_IFREG, b"kept\n")}
    assert (outside / "main.py").read_text() == "mine\n"
    assert await workspace.undo() == ()


async def test_the_agents_repository_is_made_anew(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    dot_git = workspace.box.work_tree / ".git"
    for broken in ("gone", "a file", "a link"):
        (dot_git / "HEAD").rename(workspace.box.home / broken)
        shutil.rmtree(dot_git)
        outside = workspace.box.home / f"outside {broken}"
        outside.mkdir()
        (outside / "precious").touch()
        if broken == "a file":
            dot_git.write_text(f"gitdir: {outside}\n")
        elif broken == "a link":
            dot_git.symlink_to(outside)
        (workspace.box.work_tree / "file").write_text(broken)
        assert await workspace.commit(broken, uuid4()) is not None
        assert (dot_git / "HEAD").read_text() == "ref: refs/heads/work\n"
        assert (outside / "precious").exists()


async def test_repositories_inside_the_tree_become_files(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    for name, has_commit in (
        ("app", True),
        ("app/inner", False),
        ("emp ty\n", False),
        ("src", True),
        ("build/ignored", True),
    ):
        folder = tree / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file.txt").write_text(name)
        git("init", "-q", folder)
        if has_commit:
            git(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "x", cwd=folder)
    (tree / "README.md").unlink()  # a file becomes a repository
    git("init", "-q", tree / "README.md")
    (tree / "README.md/file.txt").touch()
    assert {"app/", "emp ty\n/"} <= set(await workspace.changed_paths())
    commit = await workspace.commit("Add", uuid4())
    assert commit is not None
    await workspace.push(permitted)
    files = origin.git("demo", "ls-tree", "-r", "-z", "work").split("\0")
    assert not [entry for entry in files if entry.startswith("160000")]
    names = {entry.partition("\t")[2] for entry in files}
    assert {"app/file.txt", "app/inner/file.txt", "emp ty\n/file.txt", "src/file.txt", "README.md/file.txt"} <= names
    assert {"app", "app/inner", "emp ty\n", "README.md"} <= set(await workspace.nested_repositories())
    assert (tree / "build/ignored/.git").exists()
    (tree / "one more").touch()
    assert await workspace.commit("Go on", uuid4()) is not None
    assert await workspace.nested_repositories() == ()


async def test_a_patch_holds_the_files_of_repositories_inside(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    git("init", "-q", workspace.box.work_tree / "app")
    (workspace.box.work_tree / "app/file.txt").write_text("kept\n")
    assert b"+kept" in await workspace.patch()
    await workspace.commit("Add", uuid4())
    assert await workspace.nested_repositories() == ("app",)


async def test_names_that_git_refuses_are_named(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    (workspace.box.work_tree / "sub/.GIT").mkdir(parents=True)
    (workspace.box.work_tree / "sub/.GIT/config").touch()
    with pytest.raises(GitError, match="cannot be committed"):
        await workspace.commit("Add", uuid4())


async def test_special_files_are_left_out(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    os.mkfifo(workspace.box.work_tree / "pipe")
    (workspace.box.work_tree / "file").touch()
    commit = await workspace.commit("Add", uuid4())
    assert commit is not None
    assert commit.files == 1


async def test_denied_permissions_are_taken_back(bench: Bench, origin: BareRepositories) -> None:
    """Bites where the tests do not run as root."""
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree

    def deny() -> None:
        (tree / "shut").mkdir(exist_ok=True)
        (tree / "shut/file").write_text("in there\n")
        (tree / "shut/file").chmod(0)
        (tree / "README.md").write_text("unreadable\n")
        (tree / "README.md").chmod(0)
        (tree / "shut").chmod(0o400)
        (tree / "src").chmod(0o500)
        (tree / ".git/refs").chmod(0)

    deny()
    assert b"+in there" in await workspace.patch()
    deny()
    await workspace.undo()
    assert not (tree / "shut").exists()
    assert (tree / "README.md").read_text() == "# Demo\n"
    deny()
    commit = await workspace.commit("Add", uuid4())
    assert commit is not None
    assert commit.files == 2
    deny()
    await workspace.remove()
    assert bench.left() == []


async def test_writes_the_diff_of_both_branches(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    (tree / "README.md").write_text("# Other\n")
    (tree / "src/main.py").rename(tree / "src/renamed.py")  # needs to be settled: a rename without edits
    (tree / "big.txt").write_text("a line of text\n" * 200_000)
    await workspace.commit("Change", uuid4())
    summary = await workspace.write_diff(tmp_path / "json", tmp_path / "patch")
    files = {file["filename"]: file for file in json.loads((tmp_path / "json").read_bytes())["files"]}
    assert set(files) == {"README.md", "src/renamed.py", "big.txt"}
    assert files["src/renamed.py"]["oldFilename"] == "src/main.py"
    patch = (tmp_path / "patch").read_bytes()
    assert (summary.files, summary.additions, summary.deletions) == (3, 200_001, 1)
    assert summary.patch_bytes == len(patch)
    assert patch.startswith(b"diff --git a/README.md b/README.md\n")
    fresh = tmp_path / "fresh"
    git("clone", "-q", "-b", "main", origin.path("demo"), fresh)
    git("apply", "-", cwd=fresh, stdin=patch)
    assert _listing(fresh) == _listing(tree)


async def test_a_command_that_was_cut_short_is_in_nobodys_way(
    bench: Bench, origin: BareRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    (tree / "new").write_text("new\n")
    exclude = tree.parent / "git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    os.mkfifo(exclude)  # Git waits for somebody to write into it
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "_git", replace(workspace._git, seconds=1.0))
        with pytest.raises(GitTimedOut):
            await workspace.commit("Add", uuid4())
    (tree.parent / "git/index.lock").touch()  # as a killed Git leaves it
    exclude.unlink()
    commit = await workspace.commit("Add", uuid4())
    assert commit is not None
    assert commit.files == 1


async def test_an_empty_diff(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    summary = await workspace.write_diff(tmp_path / "json", tmp_path / "patch")
    assert (summary.files, summary.patch_bytes) == (0, 0)
    assert json.loads((tmp_path / "json").read_bytes()) == {"files": []}
    assert (tmp_path / "patch").read_bytes() == b""


async def test_changes_in_the_second_of_the_checkout_are_seen(bench: Bench, origin: BareRepositories) -> None:
    """The same size, at once: only the times can tell."""
    workspace = await bench.prepare(origin.path("demo"))
    (workspace.box.work_tree / "src/main.py").write_text("print(2)\n")
    assert await workspace.changed_paths() == ("src/main.py",)
    assert git("status", "--porcelain", cwd=workspace.box.work_tree) == " M src/main.py\n"


async def test_a_full_disk_is_said_without_the_worker_s_paths() -> None:
    said = "error: sha1 file '/somewhere/runs/1/git/index.lock' write error. Out of diskspace"
    with pytest.raises(WorkspaceError, match=r"^The disk of the worker is full\.$"):
        refuse_full_disk(f"{said}\nfatal: adding files failed\n")
    refuse_full_disk("fatal: something else\n")

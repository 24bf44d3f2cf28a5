"""What setup commands leave: no part of any commit, and never thrown away."""

import os
import stat
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import IDENTITY, Bench, git, permitted

from treadle.workspace.aside import MAX_NAMED, MAX_PATTERNS, Aside, entries_for, pattern
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio

#: Each would be something else in an `info/exclude` that did not know it, or on a command line.
HOSTILE = (
    *(b"#comment", b"!not", b"trailing ", b"trailing  ", b" leading", b"in between", b"*", b"?", b"[a-z]", b"a\\b"),
    *(b"back\\", b"new\nline", b"return\r", b"re\rturn", b"tab\t", b"-dash", b"--exclude=x", b":(top)x", b'quo"te'),
    *(b"\xff\xfe", b"\xc3\xbcn\xc3\xaf", b"\x01\x7f", b"**", b"a**b", b"\\#", b"$HOME", b"~", b"line\n# more\n*"),
)


def _make(tree: Path, names: tuple[bytes, ...] = HOSTILE) -> None:
    for folder in (b"", b"src/", b"new/", b"new dir \n#/"):
        path = os.fsencode(tree) + b"/" + folder
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - names that are no text
        for name in names:
            with open(path + name, "wb") as file:  # noqa: PTH123 - as above
                file.write(name)


def _left(tree: Path) -> set[bytes]:
    return {
        os.path.relpath(os.path.join(folder, name), os.fsencode(tree))  # noqa: PTH118 - as above
        for folder, _, names in os.walk(os.fsencode(tree))
        for name in names
        if b"/.git/" not in folder + b"/"
    }


async def _is_clean(workspace: GitWorkspace) -> bool:
    return (await workspace.changed_paths(), await workspace.patch(), await workspace.commit("x", uuid4())) == (
        (),
        b"",
        None,
    )


async def test_hostile_names_are_in_no_commit_and_stay(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    _make(tree)
    before = _left(tree)
    assert len(await workspace.set_aside()) == 4 * len(HOSTILE)
    assert await _is_clean(workspace)
    seen = git("status", "--porcelain", cwd=tree)  # by the agent
    assert all(r"\n" in line or r"\r" in line or line == "?? new/" for line in seen.splitlines())
    (tree / "README.md").write_text("changed\n")
    (tree / "new/agent.txt").write_text("agent\n")
    (tree / "#commen").write_text("agent\n")
    (tree / "X").write_text("agent\n")
    changed = {"README.md", "new/agent.txt", "#commen", "X"}
    assert set(await workspace.changed_paths()) == changed
    assert set(await workspace.undo()) == changed
    assert _left(tree) == before
    assert await _is_clean(workspace)


async def test_what_is_done_later_is_committed_beside_it(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    _make(tree)
    (tree / "README.md").write_text("of the setup\n")
    assert "README.md" in await workspace.set_aside()
    assert (tree / "README.md").read_text() == "# Demo\n"
    (tree / "new/agent.txt").write_text("agent\n")
    (tree / "src/main.py").write_text("print(2)\n")
    commit = await workspace.commit("Work", uuid4())
    assert commit is not None
    assert commit.files == 2
    await workspace.push(permitted)
    assert origin.files("demo", "work") == [
        *(".gitignore", "README.md", "new/agent.txt", "src/data.bin", "src/main.py")
    ]


async def test_a_gitignore_that_wants_them_seen_does_not_get_them(bench: Bench, origin: BareRepositories) -> None:
    origin.commit("demo", {".gitignore": "*.tmp\n!*.py\n!*\n!/vendor/\n!*/\n"})
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    _make(tree)
    (tree / "made.py").write_text("setup\n")
    (tree / "vendor/many").mkdir(parents=True)
    for number in range(MAX_NAMED + 1):
        (tree / f"vendor/many/{number}.py").write_text("setup\n")
    before = _left(tree)
    await workspace.set_aside()
    assert await _is_clean(workspace)
    (tree / "mine.py").write_text("agent\n")
    assert await workspace.changed_paths() == ("mine.py",)
    assert b"made.py" not in await workspace.patch()
    assert await workspace.undo() == ("mine.py",)
    assert _left(tree) == before
    (tree / "mine.py").write_text("agent\n")
    commit = await workspace.commit("Work", uuid4())
    assert commit is not None
    assert commit.files == 1


async def test_a_step_cut_short_does_not_cost_them(bench: Bench, origin: BareRepositories) -> None:
    origin.commit("demo", {".gitignore": "!*\n"})
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    (tree / "made").write_text("setup\n")
    await workspace.set_aside()
    (tree / "mine").write_text("agent\n")
    await workspace._git.run("add", "--all")  # as if staging had been broken off right after that
    workspace._is_staging = True
    assert await workspace.changed_paths() == ("mine",)
    assert await workspace.undo() == ("mine",)
    assert (tree / "made").read_text() == "setup\n"
    assert not (tree / "mine").exists()


async def test_large_directories_go_whole_and_small_ones_file_by_file(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    for number in range(MAX_NAMED + 1):
        (tree / f"web/node_modules/p{number}").mkdir(parents=True)
        (tree / f"web/node_modules/p{number}/index.js").touch()
    (tree / "web/generated.js").touch()
    await workspace.set_aside()
    assert await workspace.changed_paths() == ()
    (tree / "web/mine.js").touch()
    (tree / "web/node_modules/p0/patched.js").touch()
    assert await workspace.changed_paths() == ("web/mine.js",)


async def test_repositories_links_and_closed_directories_left_there(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    for name in ("vendor/cloned", "empty"):
        (tree / name).mkdir(parents=True)
        git("init", "--quiet", cwd=tree / name)
    (tree / "vendor/cloned/file").touch()
    git("add", "--all", cwd=tree / "vendor/cloned")
    git(*IDENTITY, "commit", "--quiet", "-m", "x", cwd=tree / "vendor/cloned")
    (tree / "link").symlink_to("/etc")
    (tree / "closed").mkdir()
    (tree / "closed/file").touch()
    (tree / "closed").chmod(0)
    await workspace.set_aside()
    assert await _is_clean(workspace)
    assert await workspace.nested_repositories() == ()
    (tree / "README.md").unlink()
    assert await workspace.undo() == ("README.md",)
    assert (tree / "vendor/cloned/.git").is_dir()
    assert (tree / "link").is_symlink()
    assert (tree / "closed").is_dir()


async def test_a_tracked_file_that_became_a_directory_is_put_back(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    (tree / "README.md").unlink()
    (tree / "README.md").mkdir()
    (tree / "README.md/inner").touch()
    (tree / "src/main.py").chmod(0o755)
    await workspace.set_aside()
    assert (tree / "README.md").read_text() == "# Demo\n"
    assert not stat.S_IMODE((tree / "src/main.py").stat().st_mode) & stat.S_IXUSR
    assert await _is_clean(workspace)


async def test_what_is_set_aside_again_is_added(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    assert await workspace.set_aside() == ()
    for name in ("one", "two"):
        (tree / name).touch()
        assert await workspace.set_aside() == (name,)
    assert await _is_clean(workspace)


async def test_work_travels_as_a_patch_without_it(bench: Bench, origin: BareRepositories) -> None:
    workspaces = [await bench.prepare(origin.path("demo")) for _ in range(2)]
    for workspace in workspaces:
        _make(workspace.box.work_tree)
        await workspace.set_aside()
    (workspaces[0].box.work_tree / "mine.txt").write_text("agent\n")
    patch = await workspaces[0].patch()
    await workspaces[1].apply(patch)
    assert await workspaces[1].changed_paths() == ("mine.txt",)
    assert await workspaces[1].patch() == patch


async def test_lock_files_are_those_that_are_committed(bench: Bench, origin: BareRepositories) -> None:
    origin.commit("demo", {"go.sum": "a\n", "web/go.sum": "b\n", "x/go.sum/y": "no\n", "not-go.sum": "no\n"})
    workspace = await bench.prepare(origin.path("demo"))
    (workspace.box.work_tree / "go.sum").write_text("changed\n")
    (workspace.box.work_tree / "src/go.sum").write_text("new\n")
    found = await workspace.lock_files(frozenset({"go.sum", "go.mod"}))
    sha = origin.git("demo", "rev-parse", "main:go.sum").strip()
    assert set(found) == {"go.sum", "web/go.sum"}
    assert found["go.sum"] == sha
    assert await workspace.lock_files(frozenset({"none"})) == {}


async def test_what_no_commit_holds(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    assert await workspace.unversioned() == []
    (tree / "build/deep").mkdir(parents=True)  # ignored
    (tree / "build/deep/x").touch()
    (tree / "src/a\nb").touch()
    (tree / "x.log").touch()
    (tree / "README.md").write_text("changed")
    assert sorted(await workspace.unversioned()) == [b"build/", b"src/a\nb", b"x.log"]
    await workspace.set_aside()
    assert sorted(await workspace.unversioned()) == [b"build/", b"src/a\nb", b"x.log"]


async def test_an_empty_tree_has_no_git_directory_in_it(bench: Bench, origin: BareRepositories) -> None:
    origin.create("bare")
    tree = origin.git("bare", "hash-object", "-w", "-t", "tree", "/dev/null").strip()
    commit = origin.git("bare", *IDENTITY, "commit-tree", tree, "-m", "Nothing").strip()
    origin.git("bare", "update-ref", "refs/heads/main", commit)
    workspace = await bench.prepare(origin.path("bare"))
    (workspace.box.work_tree / "made").touch()
    assert await workspace.unversioned() == [b"made"]
    await workspace.set_aside()
    assert await workspace.changed_paths() == ()


def test_too_many_patterns_make_whole_directories() -> None:
    files = [b"d%d/s%d/f%d" % (a, b, c) for a in range(3) for b in range(50) for c in range(50)]
    tops = [b"d0/", b"d1/", b"d2/"]
    assert entries_for([*files, b"src/loose"], tops) == {*tops, b"src/loose"}
    assert len(files) > MAX_PATTERNS


def test_a_very_deep_directory_ends() -> None:
    files = [b"d/" * 2000 + b"f%d" % number for number in range(MAX_NAMED + 1)]
    (entry,) = entries_for(files, [b"d/"])
    assert all(Aside(frozenset({entry})).holds(path) for path in files)


_PARTS = st.lists(st.binary(min_size=1, max_size=5).filter(lambda part: not {0, 47} & set(part)), min_size=1)


@given(st.sets(_PARTS.map(b"/".join), max_size=30))
def test_everything_that_was_there_is_held_and_nothing_beside_it(paths: set[bytes]) -> None:
    tops = {path.partition(b"/")[0] + b"/" for path in paths if b"/" in path}
    aside = Aside(entries_for(sorted(paths), tops))
    assert all(aside.holds(path) for path in paths)
    assert not any(aside.holds(path + b"~") for path in paths if path + b"~" not in paths)
    assert b"\n\n" not in aside.exclude_file()
    assert all(pattern(path).startswith(b"/") for path in paths)

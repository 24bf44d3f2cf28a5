"""What an agent, or a repository, may try against the service's own Git. Each trap is sprung once to show that it
works; then the service does all it ever does, and nothing happens."""

import os
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import IDENTITY, Bench, git, permitted, script

from treadle.domain.errors import GitError, WorkspaceError
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio


class Trap:
    """A script that leaves a mark when somebody runs it."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "sprung"
        self.script = script(folder / "trap", f"echo \"$0 $*\" >> '{self.mark}'; cat")

    def take_mark(self) -> bool:
        found = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return found

    def configure(self, config: Path) -> None:
        """Everything in a repository's configuration that makes Git run something."""
        with config.open("a") as file:
            file.write(
                f"""
[core]
    fsmonitor = {self.script}
    hooksPath = {self.script.parent}/hooks
    sshCommand = {self.script}
    editor = {self.script}
    pager = {self.script}
    askPass = {self.script}
    gitProxy = {self.script}
    alternateRefsCommand = {self.script}
[filter "trap"]
    clean = {self.script}
    smudge = {self.script}
    required = true
[diff]
    external = {self.script}
[diff "trap"]
    textconv = {self.script}
    command = {self.script}
[merge "trap"]
    driver = {self.script}
[credential]
    helper = {self.script}
[commit]
    gpgSign = true
[gpg]
    program = {self.script}
[uploadpack]
    packObjectsHook = {self.script}
[remote "origin"]
    uploadpack = {self.script}
    receivepack = {self.script}
[submodule]
    recurse = true
"""
            )
        for name in ("pre-commit", "post-commit", "commit-msg", "pre-push", "post-checkout", "reference-transaction"):
            script(self.script.parent / "hooks" / name, f"exec '{self.script}'")
            script(config.parent / "hooks" / name, f"exec '{self.script}'")


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path / "trap")


async def _everything(workspace: GitWorkspace, scratch: Path) -> None:
    """Each thing that the service ever does with a work tree."""
    await workspace.changed_paths()
    patch = await workspace.patch()
    await workspace.undo()
    await workspace.apply(patch)
    await workspace.changed_paths()
    assert await workspace.commit("Change", uuid4()) is not None
    await workspace.compare()
    await workspace.push(permitted)
    await workspace.write_diff(scratch / "json", scratch / "patch")
    await workspace.undo()


async def test_nothing_in_the_agents_repository_is_run(
    bench: Bench, origin: BareRepositories, trap: Trap, tmp_path: Path
) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    trap.configure(tree / ".git/config")
    (tree / ".gitattributes").write_text("* filter=trap diff=trap merge=trap\n")
    (tree / "README.md").write_text("changed\n")
    git("status", "--porcelain", cwd=tree)
    assert trap.take_mark()
    await _everything(workspace, tmp_path)
    assert not trap.take_mark()


async def test_attributes_in_the_repository_run_nothing(
    bench: Bench, origin: BareRepositories, trap: Trap, tmp_path: Path
) -> None:
    origin.commit(
        "demo", {".gitattributes": "* filter=trap diff=trap merge=trap\n*.bin filter=lfs diff=lfs merge=lfs -text\n"}
    )
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    origin.commit("demo", {"large.bin": pointer})
    workspace = await bench.prepare(origin.path("demo"))
    assert (workspace.box.work_tree / "large.bin").read_text() == pointer
    (workspace.box.work_tree / "README.md").write_text("changed\n")
    await _everything(workspace, tmp_path)
    origin.commit("demo", {"README.md": "theirs\n"}, branch="work")
    (workspace.box.work_tree / "new").touch()
    await workspace.commit("More", uuid4())
    await workspace.push(permitted)
    assert not trap.take_mark()


@pytest.mark.parametrize("kind", ["link", "file", "directory"])
async def test_another_repository_in_place_of_the_agents(
    bench: Bench, origin: BareRepositories, trap: Trap, tmp_path: Path, kind: str
) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    crafted = tmp_path / "crafted"
    git("init", "-q", crafted)
    trap.configure(crafted / ".git/config")
    shutil.rmtree(tree / ".git")
    if kind == "link":
        (tree / ".git").symlink_to(crafted / ".git")
    elif kind == "file":
        (tree / ".git").write_text(f"gitdir: {crafted}/.git\n")
    else:
        shutil.copytree(crafted / ".git", tree / ".git")
    (tree / "new").write_text("new\n")
    git("status", cwd=tree)
    assert trap.take_mark()
    await _everything(workspace, tmp_path)
    assert not trap.take_mark()
    assert (crafted / ".git/config").exists()
    assert (tree / ".git").is_dir()


@pytest.fixture
def with_submodule(origin: BareRepositories) -> BareRepositories:
    """`demo` with a submodule at `lib`, never fetched."""
    origin.create("lib", {"lib.py": "print('lib')\n"})
    sha = origin.git("lib", "rev-parse", "main").strip()
    origin.commit("demo", {".gitmodules": f'[submodule "lib"]\n\tpath = lib\n\turl = {origin.path("lib")}\n'})
    _add_gitlink(origin, "lib", sha)
    return origin


def _add_gitlink(origin: BareRepositories, path: str, sha: str) -> None:
    bare = origin.path("demo")
    tree = _tree_of(bare, origin.git("demo", "ls-tree", "-r", "main") + f"160000 commit {sha}\t{path}\n")
    commit = git(*IDENTITY, "--git-dir", bare, "commit-tree", "-p", "main", "-m", "Add a submodule", tree).strip()
    git("--git-dir", bare, "update-ref", "refs/heads/main", commit)


def _tree_of(bare: Path, listing: str) -> str:
    """A tree with these entries at any depth."""
    here: list[str] = []
    below: dict[str, list[str]] = {}
    for line in listing.splitlines():
        meta, _, path = line.partition("\t")
        first, slash, rest = path.partition("/")
        if slash:
            below.setdefault(first, []).append(f"{meta}\t{rest}")
        else:
            here.append(line)
    for name, lines in below.items():
        here.append(f"040000 tree {_tree_of(bare, chr(10).join(lines))}\t{name}")
    return git("--git-dir", bare, "mktree", "--missing", stdin=("\n".join(here) + "\n").encode()).strip()


async def test_a_submodule_that_the_agent_fills_runs_nothing(
    bench: Bench, with_submodule: BareRepositories, trap: Trap, tmp_path: Path
) -> None:
    """Git looks into a submodule by starting a git there, which reads that repository's configuration."""
    workspace = await bench.prepare(with_submodule.path("demo"))
    tree = workspace.box.work_tree
    assert list((tree / "lib").iterdir()) == []
    git("clone", "-q", with_submodule.path("lib"), tree / "lib")
    trap.configure(tree / "lib/.git/config")
    (tree / "lib/.git/info/attributes").write_text("* filter=trap\n")
    os.utime(tree / "lib/lib.py", (1, 1))  # to be compared by content, and so filtered
    (tree / "new").write_text("new\n")
    git("-c", "core.fsmonitor=false", "add", "--all", cwd=tree)
    assert trap.take_mark()
    os.utime(tree / "lib/lib.py", (2, 2))
    await _everything(workspace, tmp_path)
    assert not trap.take_mark()
    assert "160000" in with_submodule.git("demo", "ls-tree", "work", "lib")
    assert with_submodule.git("demo", "diff", "--name-only", "main", "work").split() == ["new"]


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o300, 0o500])
async def test_a_submodule_that_is_shut_runs_nothing(
    bench: Bench, with_submodule: BareRepositories, trap: Trap, tmp_path: Path, mode: int
) -> None:
    """Bites where the tests do not run as root: Git may look where a directory cannot be listed or written to."""
    workspace = await bench.prepare(with_submodule.path("demo"))
    tree = workspace.box.work_tree
    git("clone", "-q", with_submodule.path("lib"), tree / "lib")
    trap.configure(tree / "lib/.git/config")
    (tree / "lib/.git/info/attributes").write_text("* filter=trap\n")
    os.utime(tree / "lib/lib.py", (2, 2))
    (tree / "lib/.git").chmod(mode)
    (tree / "lib").chmod(mode)
    (tree / "new").write_text("new\n")
    await _everything(workspace, tmp_path)
    assert not trap.take_mark()


async def test_a_submodule_stays_at_its_commit(bench: Bench, with_submodule: BareRepositories) -> None:
    workspace = await bench.prepare(with_submodule.path("demo"))
    tree = workspace.box.work_tree
    shutil.rmtree(tree / "lib")
    git("init", "-q", tree / "lib")
    git(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "elsewhere", cwd=tree / "lib")
    assert await workspace.commit("Move it", uuid4()) is None
    shutil.rmtree(tree / "lib")
    assert await workspace.commit("Remove it", uuid4()) is not None


async def test_links_in_place_of_a_submodule_are_not_followed(
    bench: Bench, with_submodule: BareRepositories, tmp_path: Path
) -> None:
    workspace = await bench.prepare(with_submodule.path("demo"))
    outside = tmp_path / "outside"
    git("init", "-q", outside)
    (workspace.box.work_tree / "lib").rmdir()
    (workspace.box.work_tree / "lib").symlink_to(outside)
    await workspace.changed_paths()
    commit = await workspace.commit("Link", uuid4())
    assert commit is not None
    assert (outside / ".git/HEAD").exists()
    await workspace.push(permitted)
    assert "120000" in with_submodule.git("demo", "ls-tree", commit.sha, "lib")


async def test_gitmodules_cannot_hide_a_repository(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    tree = workspace.box.work_tree
    git("init", "-q", tree / "hidden")
    (tree / "hidden/file").touch()
    git(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "x", cwd=tree / "hidden")
    (tree / ".gitmodules").write_text('[submodule "hidden"]\n\tpath = hidden\n\turl = ./x\n\tignore = all\n')
    await workspace.commit("Hide", uuid4())
    await workspace.push(permitted)
    assert "hidden/file" in origin.files("demo", "work")
    assert await workspace.nested_repositories() == ("hidden",)


async def test_a_work_tree_that_was_replaced_is_not_touched(
    bench: Bench, origin: BareRepositories, tmp_path: Path
) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    tree = workspace.box.work_tree
    tree.rename(tree.parent / "moved")
    tree.symlink_to(outside)
    for attempt in (workspace.changed_paths, workspace.undo, workspace.patch, lambda: workspace.push(permitted)):
        with pytest.raises(WorkspaceError, match="replaced"):
            await attempt()
    with pytest.raises(WorkspaceError, match="replaced"):
        await workspace.commit("x", uuid4())
    await workspace.remove()
    assert (outside / "precious").exists()


async def test_removes_whatever_was_made(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    tree = workspace.box.work_tree
    deep = os.open(tree, os.O_RDONLY)
    for _ in range(2_500):  # deeper than a path can be long, and than Python recurses
        os.mkdir("d" * 20, dir_fd=deep)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    (tree / ".git/link").symlink_to(outside)
    (tree / "shut").mkdir()
    (tree / "shut/file").touch()
    (tree / "shut").chmod(0)
    (workspace.box.config / "shut").mkdir(mode=0)
    await workspace.remove()
    assert bench.left() == []
    assert not workspace.box.config.exists()
    assert (outside / "precious").exists()


async def test_a_deep_git_directory_is_made_anew(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    deep = os.open(workspace.box.work_tree / ".git", os.O_RDONLY)
    for _ in range(2_500):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    assert await workspace.undo() == ()
    assert not (workspace.box.work_tree / ".git/d").exists()


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch sprung'", "-utouch sprung", "--upload-pack=touch", "../../../..", "fd::3"]
)
async def test_addresses_of_submodules_are_checked(bench: Bench, origin: BareRepositories, url: str) -> None:
    origin.commit("demo", {".gitmodules": f'[submodule "lib"]\n\tpath = lib\n\turl = "{url}"\n'})
    _add_gitlink(origin, "lib", origin.git("demo", "rev-parse", "main").strip())
    with pytest.raises(GitError, match="submodule 'lib'"):
        await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))
    assert bench.left() == []


@pytest.mark.parametrize("path", ["../outside", "/outside", ".git", "a/../../outside"])
async def test_submodules_cannot_lie_outside(bench: Bench, origin: BareRepositories, path: str) -> None:
    origin.commit("demo", {".gitmodules": f'[submodule "lib"]\n\tpath = {path}\n\turl = ./lib.git\n'})
    workspace = await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))
    assert not (workspace.box.work_tree.parent / "outside").exists()

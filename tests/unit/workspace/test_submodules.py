"""Submodules: left alone unless asked for; then their files are there to be read."""

from uuid import uuid4

import pytest
from tests.support.git_server import GitServer
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import IDENTITY, Bench, git

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitAuthenticationFailed, GitError, HostRefused
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio

GOOD = GitCredentials(http="ada:secret-word")


def _with_submodule(repositories: BareRepositories, outer: str, path: str, sha: str, url: str) -> None:
    """Adds the commit `sha` of another repository to `outer` at `path`."""
    bare = repositories.path(outer)
    repositories.commit(outer, {".gitmodules": f'[submodule "it"]\n\tpath = {path}\n\turl = {url}\n'})
    others = [
        line for line in repositories.git(outer, "ls-tree", "main").splitlines() if not line.endswith(f"\t{path}")
    ]
    listing = "\n".join([*others, f"160000 commit {sha}\t{path}\n"])
    tree = git("--git-dir", bare, "mktree", "--missing", stdin=listing.encode()).strip()
    commit = git(*IDENTITY, "--git-dir", bare, "commit-tree", "-p", "main", "-m", "Add", tree).strip()
    git("--git-dir", bare, "update-ref", "refs/heads/main", commit)


def _tip(repositories: BareRepositories, name: str) -> str:
    return repositories.git(name, "rev-parse", "main").strip()


def _nest(repositories: BareRepositories, deep_url: str, lib_url: str) -> None:
    repositories.create("deep", {"deep.txt": "deep\n"})
    repositories.create("lib", {"lib.txt": "lib\n"})
    _with_submodule(repositories, "lib", "deep", _tip(repositories, "deep"), deep_url)
    _with_submodule(repositories, "demo", "lib", _tip(repositories, "lib"), lib_url)


async def _works(workspace: GitWorkspace) -> None:
    """The submodule's files do not get in the way of a commit."""
    tree = workspace.box.work_tree
    assert await workspace.changed_paths() == ()
    (tree / "lib/lib.txt").write_text("changed\n")
    (tree / "lib/new.txt").write_text("new\n")
    (tree / "new.txt").write_text("new\n")
    commit = await workspace.commit("Add", uuid4())
    assert commit is not None
    assert commit.files == 1


async def test_they_are_not_followed_unless_asked(bench: Bench, origin: BareRepositories) -> None:
    _nest(origin, "../deep.git", "../lib.git")
    workspace = await bench.prepare(origin.path("demo"))
    assert list((workspace.box.work_tree / "lib").iterdir()) == []


async def test_their_files_are_there_when_asked(bench: Bench, origin: BareRepositories) -> None:
    _nest(origin, "../deep.git", str(origin.path("lib")))
    workspace = await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))
    tree = workspace.box.work_tree
    assert (tree / "lib/lib.txt").read_text() == "lib\n"
    assert (tree / "lib/deep/deep.txt").read_text() == "deep\n"
    assert not (tree / "lib/.git").exists()
    await _works(workspace)


async def test_relative_addresses_get_the_runs_credentials(bench: Bench, git_server: GitServer) -> None:
    git_server.create("lib", {"lib.txt": "lib\n"})
    _with_submodule(git_server, "demo", "lib", _tip(git_server, "lib"), "../lib.git")
    asked = bench.make(submodules=True)
    await _works(await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=asked))


async def test_another_host_gets_no_credentials(bench: Bench, git_server: GitServer) -> None:
    with GitServer() as other:
        other.create("lib", {"lib.txt": "lib\n"})
        _with_submodule(git_server, "demo", "lib", _tip(other, "lib"), other.url("lib"))
        asked = bench.make(submodules=True)
        await _works(await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=asked))
        assert {request.username for request in other.requests} == {None}
        other.password = "another-word"
        with pytest.raises(GitAuthenticationFailed, match="submodule 'lib'"):
            await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=asked)


async def test_a_commit_that_is_on_no_branch(bench: Bench, origin: BareRepositories) -> None:
    origin.create("lib", {"lib.txt": "lib\n"})
    _with_submodule(origin, "demo", "lib", "0" * 39 + "1", "../lib.git")
    with pytest.raises(GitError, match=r"submodule 'lib': Its commit 0+1 is on no branch"):
        await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))


async def test_no_address(bench: Bench, origin: BareRepositories) -> None:
    _with_submodule(origin, "demo", "lib", _tip(origin, "demo"), "../lib.git")
    origin.commit("demo", {".gitmodules": "\n"})
    with pytest.raises(GitError, match="submodule 'lib' has no address"):
        await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))


async def test_a_private_host_is_refused(bench: Bench, origin: BareRepositories) -> None:
    _with_submodule(origin, "demo", "lib", _tip(origin, "demo"), "http://127.0.0.1:1/lib.git")
    strict = bench.make(submodules=True, allow_private_hosts=False)
    with pytest.raises(HostRefused, match=r"submodule 'lib'.*private"):
        await bench.prepare(origin.path("demo"), workspaces=strict)


async def test_one_in_another_ends_somewhere(bench: Bench, origin: BareRepositories) -> None:
    origin.create("lib", {"lib.txt": "lib\n"})
    for _ in range(7):  # each commit holds the one before
        _with_submodule(origin, "lib", "in", _tip(origin, "lib"), "../lib.git")
    _with_submodule(origin, "demo", "lib", _tip(origin, "lib"), "../lib.git")
    with pytest.raises(GitError, match="too deep"):
        await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))

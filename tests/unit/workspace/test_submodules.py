"""Submodules: left alone unless asked for; then their files are there to be read."""

import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.git_server import GitServer
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import FILES, IDENTITY, Bench, git, script

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitAuthenticationFailed, GitError, HostRefused
from treadle.workspace import hosts
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio

GOOD = GitCredentials(http="ada:secret-word")


def _with_submodule(repositories: BareRepositories, outer: str, path: str, sha: str, url: str) -> None:
    """Adds the commit `sha` of another repository to `outer` at `path`."""
    modules = f'[submodule "it"]\n\tpath = {path}\n\turl = {url}\n'
    repositories.commit(outer, {".gitmodules": modules}, submodules={path: sha})


def _blob(repositories: BareRepositories, name: str, text: str) -> str:
    return git("--git-dir", repositories.path(name), "hash-object", "-w", "--stdin", stdin=text.encode()).strip()


def _replace(repositories: BareRepositories, name: str, path: str, entry: str) -> None:
    """Commits with another entry, `mode type id`, at the top of the tree."""
    lines = repositories.git(name, "ls-tree", "main").splitlines()
    listing = "\n".join([*(line for line in lines if not line.endswith(f"\t{path}")), f"{entry}\t{path}\n"])
    tree = git("--git-dir", repositories.path(name), "mktree", "--missing", stdin=listing.encode()).strip()
    _advance(repositories, name, tree)


def _advance(repositories: BareRepositories, name: str, tree: str) -> None:
    bare = repositories.path(name)
    commit = git(*IDENTITY, "--git-dir", bare, "commit-tree", "-p", "main", "-m", "Change", tree).strip()
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
    assert set(await workspace.restore_submodules()) == {"lib/lib.txt", "lib/new.txt"}
    assert (tree / "lib/lib.txt").read_text() == "lib\n"
    assert not (tree / "lib/new.txt").exists()
    assert await workspace.restore_submodules() == ()


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


async def test_nested_over_http_with_credentials(bench: Bench, git_server: GitServer) -> None:
    _nest(git_server, "../deep.git", git_server.url("lib"))
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=bench.make(submodules=True))
    assert (workspace.box.work_tree / "lib/deep/deep.txt").read_text() == "deep\n"
    assert all(request.is_authorized for request in git_server.requests if request.username)
    await _works(workspace)


async def test_what_lies_in_another_hosts_gets_no_credentials(bench: Bench, git_server: GitServer) -> None:
    """A repository elsewhere must not make the service fetch what only the run's credentials open."""
    with GitServer() as other:
        other.create("lib", {"lib.txt": "lib\n"})
        _with_submodule(other, "lib", "in", _tip(git_server, "demo"), git_server.url("demo"))
        _with_submodule(git_server, "demo", "lib", _tip(other, "lib"), other.url("lib"))
        with pytest.raises(GitAuthenticationFailed, match=r"submodule 'lib': The submodule 'in'"):
            await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=bench.make(submodules=True))


async def test_a_mirror_opens_nothing_to_a_run_without_access(bench: Bench, git_server: GitServer) -> None:
    git_server.create("lib", {"lib.txt": "lib\n"})
    asked = bench.make(submodules=True)
    await bench.prepare(git_server.url("lib"), credentials=GOOD, workspaces=asked)
    with GitServer() as other:
        other.create("demo", FILES)
        _with_submodule(other, "demo", "lib", _tip(git_server, "lib"), git_server.url("lib"))
        with pytest.raises(GitAuthenticationFailed, match="submodule 'lib'"):
            await bench.prepare(other.url("demo"), workspaces=asked)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ext::sh -c 'touch TRAP'", "remote helper"),
        ("--upload-pack=touch TRAP", "begin with '-'"),
        ("fd::17", "remote helper"),
        ("git://example.com/lib.git", "not supported"),
        ("file:///etc", "Local repositories are not allowed"),
        ("/etc", "Local repositories are not allowed"),
        ("ssh://-oProxyCommand=touch@example.com/lib", "not a valid name"),
        ("../../../..", "leads out of the host"),
        ("../lib?x", r"holds no '\?'"),
        ("./a\\nb", "control characters"),
        ("http://127.0.0.1:1/lib.git", "private"),
        ("http://[::ffff:127.0.0.1]:1/lib.git", "private"),
        ("http://localhost:1/lib.git", "private"),
        ("git@127.0.0.1:lib.git", "private"),
    ],
)
async def test_hostile_addresses(
    bench: Bench, git_server: GitServer, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    """In front of a repository that may be fetched, where nothing else may."""
    _with_submodule(git_server, "demo", "lib", _tip(git_server, "demo"), url)
    strict = bench.make(submodules=True, allow_local=False, allow_private_hosts=False)
    public = hosts.public_addresses

    async def lenient(host: str, port: int) -> tuple[str, ...]:
        return ("127.0.0.1",) if f":{port}/" in git_server.url("demo") else await public(host, port)

    monkeypatch.setattr("treadle.workspace.access.public_addresses", lenient)
    with pytest.raises(GitError, match=rf"submodule 'lib': .*{said}"):
        await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=strict)
    assert bench.left() == []


async def test_nothing_but_paths_and_addresses_counts_in_gitmodules(
    bench: Bench, origin: BareRepositories, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    origin.create("lib", {"lib.txt": "lib\n", ".gitattributes": "* filter=evil\n"})
    _with_submodule(origin, "demo", "lib", _tip(origin, "lib"), "../lib.git")
    hostile = (
        f"[include]\n\tpath = {tmp_path}/more\n[core]\n\tfsmonitor = touch {trap}\n\tsshCommand = touch {trap}\n"
        f'[filter "evil"]\n\tsmudge = touch {trap}\n'
        f'[submodule "../../../escape"]\n\tpath = lib\n\turl = ../lib.git\n\tupdate = !touch {trap}\n'
    )
    (tmp_path / "more").write_text('[submodule "more"]\n\tpath = lib\n\turl = ext::false\n')
    origin.commit("demo", {".gitmodules": hostile})
    workspace = await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))
    assert (workspace.box.work_tree / "lib/lib.txt").read_text() == "lib\n"
    assert not trap.exists()
    assert [path.name for path in (workspace.box.work_tree.parent / "modules").iterdir()] == ["0"]


async def test_gitmodules_that_is_a_link(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    (tmp_path / "real").write_text('[submodule "it"]\n\tpath = lib\n\turl = ../lib.git\n')
    _with_submodule(origin, "demo", "lib", _tip(origin, "demo"), "../lib.git")
    _replace(origin, "demo", ".gitmodules", f"120000 blob {_blob(origin, 'demo', str(tmp_path / 'real'))}")
    with pytest.raises(GitError, match=r"invalid path '\.gitmodules'"):
        await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))


async def test_a_place_behind_a_link(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    """A tree with two entries of one name, which Git itself never writes: a link, and a directory with a submodule."""
    outside = tmp_path / "outside"
    (outside / "lib").mkdir(parents=True)
    origin.create("lib", {"lib.txt": "lib\n"})
    sha = _tip(origin, "lib")
    _with_submodule(origin, "demo", "a/lib", sha, "../lib.git")
    bare = origin.path("demo")
    inner = git("--git-dir", bare, "mktree", "--missing", stdin=f"160000 commit {sha}\tlib\n".encode()).strip()
    modules = origin.git("demo", "rev-parse", "main:.gitmodules").strip()
    link = _blob(origin, "demo", str(outside))
    raw = b"".join(
        mode + b" " + name + b"\0" + bytes.fromhex(id_)
        for mode, name, id_ in (
            (b"100644", b".gitmodules", modules),
            (b"120000", b"a", link),
            (b"40000", b"a", inner),
        )
    )
    tree = git("--git-dir", bare, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=raw).strip()
    _advance(origin, "demo", tree)
    workspace = await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))
    assert list((outside / "lib").iterdir()) == []
    assert not (workspace.box.work_tree / "a").is_symlink()
    assert (workspace.box.work_tree / "a/lib/lib.txt").read_text() == "lib\n"


async def test_what_the_agent_makes_of_them(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    """It may put links, repositories with filters, files and nothing at all in their places."""
    trap, outside = tmp_path / "trap", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious\n")
    _nest(origin, "../deep.git", "../lib.git")
    workspace = await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))
    tree = workspace.box.work_tree

    for armed in (tree / "lib", tree / "lib/deep"):
        git("init", "-q", cwd=armed)
        git("config", "core.fsmonitor", str(script(tmp_path / "evil", f"touch {trap}")), cwd=armed)
        git("config", "filter.evil.clean", f"touch {trap}", cwd=armed)
        (armed / ".gitattributes").write_text("* filter=evil\n")
    (tree / "lib/deep/deep.txt").write_text("changed\n")
    assert await workspace.commit("One", uuid4()) is None
    found = {"lib/.gitattributes", "lib/deep/.gitattributes", "lib/deep/deep.txt"}
    assert set(await workspace.restore_submodules()) == found
    assert (tree / "lib/deep/deep.txt").read_text() == "deep\n"

    shutil.rmtree(tree / "lib/deep")
    assert set(await workspace.undo()) == {"lib/deep", "lib/deep/deep.txt"}
    assert (tree / "lib/deep/deep.txt").read_text() == "deep\n"

    shutil.rmtree(tree / "lib")
    assert "lib" in await workspace.undo()
    assert (tree / "lib/deep/deep.txt").read_text() == "deep\n"

    shutil.rmtree(tree / "lib/deep")
    (tree / "lib/deep").symlink_to(outside)
    assert set(await workspace.restore_submodules()) >= {"lib/deep"}
    assert (tree / "lib/deep/deep.txt").read_text() == "deep\n"

    shutil.rmtree(tree / "lib")
    (tree / "lib").symlink_to(outside)
    assert await workspace.restore_submodules() == ()
    assert [path.name for path in outside.iterdir()] == ["precious"]
    commit = await workspace.commit("Two", uuid4())
    assert commit is not None
    assert await workspace.restore_submodules() == ()
    assert [path.name for path in outside.iterdir()] == ["precious"]
    (tree / "lib").unlink()
    (tree / "lib").mkdir()
    (tree / "lib/own.txt").write_text("the repository's own now\n")
    assert await workspace.commit("Three", uuid4()) is not None
    assert await workspace.restore_submodules() == ()
    assert (tree / "lib/own.txt").exists()
    assert not trap.exists()


async def test_one_in_another_ends_somewhere(bench: Bench, origin: BareRepositories) -> None:
    origin.create("lib", {"lib.txt": "lib\n"})
    for _ in range(7):  # each commit holds the one before
        _with_submodule(origin, "lib", "in", _tip(origin, "lib"), "../lib.git")
    _with_submodule(origin, "demo", "lib", _tip(origin, "lib"), "../lib.git")
    with pytest.raises(GitError, match="too deep"):
        await bench.prepare(origin.path("demo"), workspaces=bench.make(submodules=True))

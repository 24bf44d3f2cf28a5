"""From an address to a work tree on its branch, and what it says when that cannot be."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.git_server import GitServer, Kind
from tests.support.ports import ReservedPort
from tests.support.repositories import BareRepositories
from tests.support.ssh_server import SshServer
from tests.unit.workspace.bench import FILES, ORGANIZATION, Bench, git

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import (
    BranchNotFound,
    GitAuthenticationFailed,
    GitError,
    GitTimedOut,
    HostRefused,
    RepositoryNotFound,
    Unavailable,
    WorkspaceError,
)
from treadle.workspace.memory import PrivateMemory

pytestmark = pytest.mark.anyio

GOOD = GitCredentials(http="ada:secret-word")


def _tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


async def test_a_new_branch_begins_at_the_source(bench: Bench, origin: BareRepositories) -> None:
    main = origin.git("demo", "rev-parse", "main").strip()
    cold = await bench.prepare(origin.path("demo"))
    assert cold.prepared.source_sha == cold.prepared.work_sha == await cold.head() == main
    assert cold.prepared.is_new_branch
    assert not cold.prepared.is_warm
    assert cold.prepared.trailers == {}
    expected = {name: data.encode() if isinstance(data, str) else data for name, data in FILES.items()}
    assert _tree(cold.box.work_tree) == expected
    assert await cold.changed_paths() == ()
    warm = await bench.prepare(f"file://{origin.path('demo')}")
    assert warm.prepared.is_warm
    assert _tree(warm.box.work_tree) == expected


async def test_a_branch_that_is_there_goes_on(bench: Bench, origin: BareRepositories) -> None:
    origin.git("demo", "branch", "work", "main")
    tip = origin.commit("demo", {"more.txt": "more\n"}, branch="work")
    workspace = await bench.prepare(origin.path("demo"))
    assert workspace.prepared.work_sha == tip
    assert not workspace.prepared.is_new_branch
    assert (workspace.box.work_tree / "more.txt").read_text() == "more\n"
    assert await workspace.compare() == (1, 0)


async def test_a_warm_mirror_follows_the_remote(bench: Bench, origin: BareRepositories) -> None:
    origin.git("demo", "branch", "gone", "main")
    origin.git("demo", "tag", "-a", "-m", "one", "v1", "main")
    await bench.prepare(origin.path("demo"))
    new = origin.commit("demo", {"README.md": "# New\n"})
    origin.git("demo", "branch", "-D", "gone")
    origin.git("demo", "branch", "gone/below", "main")  # where a file was, a directory is now
    workspace = await bench.prepare(origin.path("demo"))
    assert workspace.prepared.source_sha == new
    said = git("for-each-ref", "--format=%(refname)", cwd=workspace.box.work_tree)
    assert said.split() == [
        "refs/heads/work",
        "refs/remotes/origin/gone/below",
        "refs/remotes/origin/main",
        "refs/tags/v1",
    ]


async def test_the_agent_has_a_repository_of_its_own(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"), work="feature/x")
    tree = workspace.box.work_tree
    assert git("log", "-1", "--format=%s", cwd=tree).strip() == "Initial commit"
    assert git("status", "--porcelain", "--branch", cwd=tree).strip() == "## feature/x"
    (tree / "README.md").write_text("changed\n")
    assert "README.md" in git("diff", "--stat", cwd=tree)
    assert git("config", "remote.origin.url", cwd=tree).strip() == str(origin.path("demo"))
    assert git("fsck", cwd=tree).strip() == ""
    # Its own commits change nothing for the service, but their files do.
    git("commit", "-qam", "mine", cwd=tree)
    assert await workspace.changed_paths() == ("README.md",)
    stores = [path for path in workspace.box.readable if path.is_dir()]
    assert [path.name for path in stores] == ["objects", "objects"]


async def test_state_of_engines_is_in_memory(bench: Bench, origin: BareRepositories, tmp_path: Path) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    config = workspace.box.config
    assert config.is_relative_to("/dev/shm")
    assert config.stat().st_mode & 0o777 == config.parent.stat().st_mode & 0o777 == 0o700
    await workspace.remove()
    assert not config.parent.exists()
    elsewhere = bench.make(tmp_path / "other", shared_memory=tmp_path)  # no file system of its own
    fallback = await bench.prepare(origin.path("demo"), workspaces=elsewhere)
    assert fallback.box.config.is_relative_to(tmp_path / "other" / "runs")


def test_memory_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    shared = Path("/dev/shm")
    memory = PrivateMemory(shared, uuid4().hex[:12])
    assert memory.is_usable()
    memory.root.mkdir(mode=0o755)
    try:
        assert not memory.is_usable()
        with pytest.raises(WorkspaceError, match="No directory"):
            memory.make("config")
    finally:
        memory.root.rmdir()
    memory.root.symlink_to(tmp_path)
    try:
        assert not memory.is_usable()
        with pytest.raises(WorkspaceError, match="No directory"):
            memory.make_for_agent()
        assert list(tmp_path.iterdir()) == []
    finally:
        memory.root.unlink()
    assert not PrivateMemory(tmp_path, "x").is_usable()


async def test_a_second_preparation_replaces_what_a_dead_process_left(bench: Bench, origin: BareRepositories) -> None:
    run = uuid4()
    left = bench.root / "runs" / str(run) / "code"
    left.mkdir(parents=True)
    (left / "stale").touch()
    workspace = await bench.prepare(origin.path("demo"), run=run)
    assert not (workspace.box.work_tree / "stale").exists()


async def test_sweeping_spares_the_living_and_the_kept(bench: Bench, origin: BareRepositories) -> None:
    living = await bench.prepare(origin.path("demo"))
    kept, dead = uuid4(), uuid4()
    for run in (kept, dead):
        (bench.root / "runs" / str(run) / "code").mkdir(parents=True)
        (bench.root / "runs" / f"{run}.lock").touch()
        (living.box.config.parent / str(run)).mkdir()
    await bench.make().sweep(frozenset({kept}))
    assert living.box.work_tree.exists()
    assert living.box.config.exists()
    assert (bench.root / "runs" / str(kept)).exists()
    assert not [path for path in bench.left() if str(dead) in path.name]
    assert not (living.box.config.parent / str(dead)).exists()
    shutil.rmtree(living.box.config.parent / str(kept))


async def test_removing_leaves_nothing(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    await workspace.remove()
    await workspace.remove()
    assert bench.left() == []


# ---- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "http"), [("ada", "ada:secret-word"), (None, "secret-word"), ("x-access-token", " secret-word\n")]
)
async def test_user_and_password_or_a_token_open_the_repository(
    bench: Bench, git_server: GitServer, username: str | None, http: str
) -> None:
    git_server.username = username
    workspace = await bench.prepare(git_server.url("demo"), credentials=GitCredentials(http=http))
    assert (workspace.box.work_tree / "README.md").exists()


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("http", ["ada:wrong-word", "wrong-word", None])
async def test_wrong_credentials_are_named_as_the_cause(
    bench: Bench, git_server: GitServer, is_warm: bool, http: str | None
) -> None:
    if is_warm:
        await (await bench.prepare(git_server.url("demo"), credentials=GOOD)).remove()
    with pytest.raises(GitAuthenticationFailed, match="credentials") as caught:
        await bench.prepare(git_server.url("demo"), credentials=GitCredentials(http=http))
    assert "127.0.0.1" in caught.value.message
    assert "wrong-word" not in caught.value.sentence()
    assert bench.left() == []


async def test_without_credentials_the_hint_says_what_helps_a_resume_too(bench: Bench, git_server: GitServer) -> None:
    with pytest.raises(GitAuthenticationFailed, match="the run has none") as caught:
        await bench.prepare(git_server.url("demo"))
    assert caught.value.hint is not None
    assert "gitHttpCredentials with a run (a resume takes none)" in caught.value.hint
    assert "`treadle admin repo add`" in caught.value.hint


async def test_credentials_that_no_header_can_hold(bench: Bench, git_server: GitServer) -> None:
    with pytest.raises(GitAuthenticationFailed, match="control characters"):
        await bench.prepare(git_server.url("demo"), credentials=GitCredentials(http="ada:a\nhost=evil"))


async def test_no_repository(bench: Bench, git_server: GitServer, origin: BareRepositories) -> None:
    with pytest.raises(RepositoryNotFound, match=r"no repository at http://127\.0\.0\.1.*/none\.git"):
        await bench.prepare(git_server.url("none"), credentials=GOOD)
    with pytest.raises(RepositoryNotFound, match="no repository at"):
        await bench.prepare(origin.path("none"))
    assert bench.left() == []


async def test_no_such_branch(bench: Bench, origin: BareRepositories) -> None:
    with pytest.raises(BranchNotFound, match="no branch 'nope'"):
        await bench.prepare(origin.path("demo"), source="nope")
    assert bench.left() == []


async def test_an_empty_repository(bench: Bench, origin: BareRepositories) -> None:
    empty = origin.create("empty")
    for _ in ("cold", "warm"):
        with pytest.raises(BranchNotFound, match="is empty"):
            await bench.prepare(empty)
    origin.commit("empty", {"a": "1\n"})
    assert (await bench.prepare(empty)).prepared.is_warm


async def test_a_branch_that_cannot_stand_beside_another(bench: Bench, origin: BareRepositories) -> None:
    origin.git("demo", "branch", "a/b", "main")
    for work in ("a", "a/b/c"):
        with pytest.raises(GitError, match="'a/b'"):
            await bench.prepare(origin.path("demo"), work=work)


async def test_an_unreachable_host(bench: Bench) -> None:
    with ReservedPort() as unused:
        for url in (f"http://127.0.0.1:{unused.number}/r.git", f"ssh://git@127.0.0.1:{unused.number}/r.git"):
            with pytest.raises(GitError, match=r"127\.0\.0\.1 cannot be reached"):
                await bench.prepare(url)


async def test_an_unknown_host(bench: Bench) -> None:
    with pytest.raises(GitError, match=r"nowhere\.invalid cannot be found"):
        await bench.prepare("https://nowhere.invalid/r.git")


@pytest.mark.parametrize("status", [500, 503])
async def test_a_host_in_trouble(bench: Bench, git_server: GitServer, status: int) -> None:
    git_server.answer(Kind.UPLOAD_REFS, status, times=5)
    with pytest.raises(GitError, match="cannot answer at the moment"):
        await bench.prepare(git_server.url("demo"), credentials=GOOD)


async def test_a_connection_that_breaks(bench: Bench, git_server: GitServer) -> None:
    git_server.drop(Kind.UPLOAD)
    with pytest.raises(GitError, match="broke off"):
        await bench.prepare(git_server.url("demo"), credentials=GOOD)
    assert bench.left() == []
    assert (await bench.prepare(git_server.url("demo"), credentials=GOOD)).prepared.is_new_branch


async def test_a_host_that_does_not_answer(bench: Bench, git_server: GitServer) -> None:
    gate = git_server.hold(Kind.UPLOAD_REFS, times=5)
    with pytest.raises(GitTimedOut, match=r"127\.0\.0\.1 took longer than 3 s for git clone"):
        await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=bench.make(command_seconds=3.0))
    gate.release()
    assert bench.left() == []


async def test_access_is_checked_with_the_runs_own_credentials_even_if_warm(
    bench: Bench, git_server: GitServer
) -> None:
    await bench.prepare(git_server.url("demo"), credentials=GOOD)
    git_server.password = "another-word"
    with pytest.raises(GitAuthenticationFailed):
        await bench.prepare(git_server.url("demo"), credentials=GOOD)


async def test_cancelling_leaves_nothing(bench: Bench, git_server: GitServer) -> None:
    gate = git_server.hold(Kind.UPLOAD, times=1)
    task = asyncio.create_task(bench.prepare(git_server.url("demo"), credentials=GOOD))
    await asyncio.to_thread(gate.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.release()
    assert bench.left() == []
    assert not list((bench.root / "mirrors" / str(ORGANIZATION)).glob("*.git"))


@pytest.fixture
def redirecting(git_server: GitServer) -> Iterator[str]:
    """An address that sends every request on to the Git server, as a host does for a renamed repository."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", git_server.url("demo").removesuffix("/demo.git") + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/demo.git"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_credentials_do_not_follow_a_redirect_to_another_host(
    bench: Bench, git_server: GitServer, redirecting: str
) -> None:
    with pytest.raises(GitAuthenticationFailed):
        await bench.prepare(redirecting, credentials=GOOD)
    assert git_server.requests
    assert {request.username for request in git_server.requests} == {None}
    git_server.password = None
    assert (await bench.prepare(redirecting, credentials=GOOD)).prepared.is_new_branch
    assert {request.username for request in git_server.requests} == {None}


async def test_redirects_are_not_followed_where_hosts_are_checked(
    bench: Bench, git_server: GitServer, redirecting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.workspace.hosts.is_public", lambda _: True)
    strict = bench.make(allow_private_hosts=False)
    assert (await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=strict)).prepared.is_new_branch
    seen = len(git_server.requests)
    with pytest.raises(HostRefused, match="redirects to another one"):
        await bench.prepare(redirecting, credentials=GOOD, workspaces=strict)
    assert len(git_server.requests) == seen


async def test_a_name_is_connected_to_where_it_was_looked_up(
    bench: Bench, git_server: GitServer, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git has no other way to find this host than the address that was checked."""

    async def addresses(host: str, _port: int) -> tuple[str, ...]:
        assert host == "git.invalid"
        return ("127.0.0.1",)

    monkeypatch.setattr("treadle.workspace.access.public_addresses", addresses)
    strict = bench.make(allow_private_hosts=False)
    url = git_server.url("demo").replace("127.0.0.1", "git.invalid")
    assert (await bench.prepare(url, credentials=GOOD, workspaces=strict)).prepared.is_new_branch
    url = ssh_server.url(git_server.path("demo")).replace("127.0.0.1", "git.invalid")
    key = GitCredentials(ssh_key=ssh_server.private_key.decode())
    assert (await bench.prepare(url, credentials=key, workspaces=strict)).prepared.is_new_branch
    known = (bench.root / "known_hosts" / str(ORGANIZATION)).read_text()
    assert known.startswith(f"[git.invalid]:{ssh_server.port} ")


# ---- what is refused -------------------------------------------------------------------------------------------------


async def test_local_and_private_need_permission(bench: Bench, origin: BareRepositories, git_server: GitServer) -> None:
    strict = bench.make(allow_local=False, allow_private_hosts=False)
    for url in (str(origin.path("demo")), f"file://{origin.path('demo')}"):
        with pytest.raises(HostRefused, match="Local"):
            await bench.prepare(url, workspaces=strict)
    for url in (git_server.url("demo"), "https://localhost/r", "ssh://git@localhost/r", "http://[::ffff:127.0.0.1]/r"):
        with pytest.raises(HostRefused, match="private address"):
            await bench.prepare(url, workspaces=strict, credentials=GOOD)
    assert git_server.requests == []


@pytest.mark.parametrize("url", ["ext::sh -c 'touch /tmp/x'", "-u", "https://h/r?x", "git@-oProxyCommand=x:r"])
async def test_dangerous_addresses_never_reach_git(bench: Bench, url: str) -> None:
    with pytest.raises(GitError):
        await bench.prepare(url)


async def test_two_processes_do_not_share_a_run(
    bench: Bench, origin: BareRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = uuid4()
    await bench.prepare(origin.path("demo"), run=run)
    monkeypatch.setattr("treadle.workspace.workspaces.TAKEOVER_SECONDS", 0.1)
    with pytest.raises(Unavailable, match="still works"):
        await bench.prepare(origin.path("demo"), run=run, workspaces=bench.make())

"""SSH against a real sshd: the key in an agent of the command's own, and nowhere else."""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from tests.support.repositories import BareRepositories
from tests.support.ssh_server import SshServer
from tests.unit.workspace.bench import ORGANIZATION, Bench, permitted, script, until_there

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitAuthenticationFailed, GitError, RepositoryNotFound
from treadle.workspace.access import ssh_key_text

pytestmark = [pytest.mark.anyio, pytest.mark.sshd]


def _key(server: SshServer) -> GitCredentials:
    return GitCredentials(ssh_key=server.private_key.decode())


def _agents(bench: Bench) -> list[psutil.Process]:
    """The agents of this bench that live."""
    assert bench.workspaces._memory is not None
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(bench.workspaces._memory.root) in word for word in process.cmdline()):
                found.append(process)
    return found


def _have_gone(agents: list[psutil.Process]) -> bool:
    """They are told to end when the command has, and do so in their own time."""
    _, alive = psutil.wait_procs(agents, timeout=120)
    return not alive


async def test_fetches_and_pushes_with_a_key(bench: Bench, origin: BareRepositories, ssh_server: SshServer) -> None:
    workspace = await bench.prepare(ssh_server.url(origin.path("demo")), credentials=_key(ssh_server))
    (workspace.box.work_tree / "new").touch()
    commit = await workspace.commit("Add", uuid4())
    assert commit is not None
    assert await workspace.push(permitted) == commit.sha
    assert origin.log("demo", "work")[0].sha == commit.sha
    assert _have_gone(_agents(bench))
    assert bench.workspaces._memory is not None
    assert [path.name for path in bench.workspaces._memory.root.iterdir()] == [workspace.box.config.name]
    known = (bench.root / "known_hosts" / str(ORGANIZATION)).read_text()
    assert f"[127.0.0.1]:{ssh_server.port} " in known


async def test_a_directory_with_an_odd_name(
    bench: Bench, origin: BareRepositories, ssh_server: SshServer, tmp_path: Path
) -> None:
    odd = bench.make(tmp_path / "100% odd 'name'")
    await bench.prepare(ssh_server.url(origin.path("demo")), credentials=_key(ssh_server), workspaces=odd)
    assert (tmp_path / "100% odd 'name'/known_hosts" / str(ORGANIZATION)).exists()


@pytest.mark.parametrize("ends", ["\n", "\r\n", ""])
async def test_line_ends_of_a_key_do_not_matter(
    bench: Bench, origin: BareRepositories, ssh_server: SshServer, ends: str
) -> None:
    key = ends.join(ssh_server.private_key.decode().splitlines()) if ends else ssh_server.private_key.decode().strip()
    await bench.prepare(ssh_server.url(origin.path("demo")), credentials=GitCredentials(ssh_key=key))


async def test_a_key_that_is_not_let_in(bench: Bench, origin: BareRepositories, ssh_server: SshServer) -> None:
    wrong = GitCredentials(ssh_key=ssh_server.wrong_key.decode())
    with pytest.raises(GitAuthenticationFailed, match="did not accept the SSH key") as caught:
        await bench.prepare(ssh_server.url(origin.path("demo")), credentials=wrong)
    assert "Permission denied (publickey)" in caught.value.message
    assert bench.left() == []


async def test_no_key_and_none_of_the_operators(
    bench: Bench, origin: BareRepositories, ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "operators-agent"))
    with pytest.raises(GitAuthenticationFailed, match="the run has none"):
        await bench.prepare(ssh_server.url(origin.path("demo")))


async def test_a_key_with_a_passphrase(bench: Bench, ssh_server: SshServer, tmp_path: Path) -> None:
    for kind in ((), ("-m", "PEM"), ("-m", "PKCS8")):
        path = tmp_path / f"key{len(kind)}{kind[-1:]}"
        command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", *kind, "-N", "passphrase", "-f", str(path)]
        await asyncio.to_thread(subprocess.run, command, check=True)
        with pytest.raises(GitAuthenticationFailed, match="passphrase"):
            await bench.prepare("ssh://git@127.0.0.1/r", credentials=GitCredentials(ssh_key=path.read_text()))


@pytest.mark.parametrize("spoilt", ["no key", "-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----"])
async def test_what_is_no_key(bench: Bench, spoilt: str) -> None:
    with pytest.raises(GitAuthenticationFailed, match=r"not a private key|is damaged"):
        await bench.prepare("ssh://git@127.0.0.1/r", credentials=GitCredentials(ssh_key=spoilt))


async def test_a_damaged_key(bench: Bench, origin: BareRepositories, ssh_server: SshServer) -> None:
    lines = ssh_server.private_key.decode().splitlines()
    damaged = "\n".join([lines[0], *lines[1:-2][::-1], *lines[-2:]])
    with pytest.raises(GitAuthenticationFailed, match="damaged") as caught:
        await bench.prepare(ssh_server.url(origin.path("demo")), credentials=GitCredentials(ssh_key=damaged))
    assert lines[1] not in caught.value.sentence()
    assert _have_gone(_agents(bench))


async def test_credentials_of_the_other_kind(bench: Bench, ssh_server: SshServer) -> None:
    with pytest.raises(GitAuthenticationFailed, match="credentials are for HTTP"):
        await bench.prepare("ssh://git@127.0.0.1/r", credentials=GitCredentials(http="a:b"))
    with pytest.raises(GitAuthenticationFailed, match="credentials are an SSH key"):
        await bench.prepare("https://127.0.0.1/r", credentials=_key(ssh_server))


async def test_no_repository(bench: Bench, origin: BareRepositories, ssh_server: SshServer) -> None:
    with pytest.raises(RepositoryNotFound, match="no repository"):
        await bench.prepare(ssh_server.url(origin.path("none")), credentials=_key(ssh_server))


async def test_a_host_key_that_changed(bench: Bench, origin: BareRepositories, ssh_server: SshServer) -> None:
    known = bench.root / "known_hosts" / str(ORGANIZATION)
    known.parent.mkdir(parents=True)
    other = ssh_server.wrong_key.decode()
    derived = await asyncio.to_thread(
        subprocess.run, ["ssh-keygen", "-y", "-f", "/dev/stdin"], input=other.encode(), capture_output=True, check=False
    )
    public = derived.stdout.decode().split()[:2] if derived.returncode == 0 else []
    assert public, derived.stderr
    known.write_text(f"[127.0.0.1]:{ssh_server.port} {' '.join(public)}\n")
    with pytest.raises(GitError, match="not the one that was seen first"):
        await bench.prepare(ssh_server.url(origin.path("demo")), credentials=_key(ssh_server))


async def test_the_key_is_in_no_file_and_no_argument(
    bench: Bench, origin: BareRepositories, ssh_server: SshServer, tmp_path: Path
) -> None:
    """Looked for while the connection is open."""
    gate, seen = tmp_path / "gate", tmp_path / "seen"
    os.mkfifo(gate)
    script(origin.path("demo") / "hooks/pre-receive", f"touch '{seen}'; cat '{gate}' > /dev/null")
    workspace = await bench.prepare(ssh_server.url(origin.path("demo")), credentials=_key(ssh_server))
    (workspace.box.work_tree / "new").touch()
    await workspace.commit("Add", uuid4())
    push = asyncio.create_task(workspace.push(permitted))
    await until_there(seen, push)
    agents = _agents(bench)
    try:
        assert agents
        secret = ssh_server.private_key.decode().splitlines()[2]
        assert bench.workspaces._memory is not None
        for root in (bench.root, bench.workspaces._memory.root):
            for path in root.rglob("*"):
                assert not path.is_file() or secret.encode() not in path.read_bytes()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                assert secret not in " ".join(process.cmdline())
                assert secret not in " ".join(process.environ().values())
    finally:
        gate.write_text("go")
    await push
    assert _have_gone([*agents, *_agents(bench)])


async def test_cancelling_ends_the_agent(
    bench: Bench, origin: BareRepositories, ssh_server: SshServer, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script(origin.path("demo") / "hooks/pre-receive", f"touch '{seen}'; exec sleep 60")
    workspace = await bench.prepare(ssh_server.url(origin.path("demo")), credentials=_key(ssh_server))
    (workspace.box.work_tree / "new").touch()
    await workspace.commit("Add", uuid4())
    push = asyncio.create_task(workspace.push(permitted))
    await until_there(seen, push)
    agents = _agents(bench)
    assert agents
    push.cancel()
    with pytest.raises(asyncio.CancelledError):
        await push
    assert _have_gone(agents)
    assert bench.workspaces._memory is not None
    assert not list(bench.workspaces._memory.root.glob("agent-*"))


async def test_sweeping_removes_what_dead_agents_left(bench: Bench) -> None:
    memory = bench.workspaces._memory
    assert memory is not None
    dead, living = memory.make_for_agent(), memory.make_for_agent()
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    (dead / "pid").write_text(f"{ended.pid}\n")
    (living / "pid").write_text(f"{os.getpid()}\n")
    await bench.workspaces.sweep(frozenset())
    assert [path.name for path in memory.root.iterdir()] == [living.name]


def test_key_text_ends_in_a_line_end() -> None:
    key = "-----BEGIN PRIVATE KEY-----\r\nAAAA\r\n-----END PRIVATE KEY-----"
    assert ssh_key_text(f"  {key} ") == b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"

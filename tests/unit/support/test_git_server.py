import gzip
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.support.git_server import GitServer, Kind


@pytest.fixture
def server() -> Iterator[GitServer]:
    with GitServer() as server:
        server.create("acme/demo", {"README.md": "# Demo\n", "src/a b.py": "print(1)\n"})
        yield server


def git(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }
    return subprocess.run(["git", *arguments], cwd=cwd, check=check, capture_output=True, text=True, env=environment)


def clone(url: str, into: Path) -> Path:
    git("clone", "--quiet", url, str(into), cwd=into.parent)
    return into


def commit(tree: Path, path: str, content: bytes, message: str) -> None:
    (tree / path).write_bytes(content)
    git("add", ".", cwd=tree)
    git("commit", "--quiet", "-m", message, cwd=tree)


def test_clone_commit_push(server: GitServer, tmp_path: Path) -> None:
    tree = clone(server.url("acme/demo"), tmp_path / "tree")
    commit(tree, "new.txt", b"hello\n", "Say hello\n\nTrailer: yes")
    git("push", "--quiet", "origin", "HEAD:refs/heads/work", cwd=tree)
    assert [commit.subject for commit in server.log("acme/demo", "work")] == ["Say hello", "Initial commit"]
    assert server.log("acme/demo", "work")[0].message.endswith("Trailer: yes")
    assert server.show("acme/demo", "work", "new.txt") == b"hello\n"
    assert server.files("acme/demo", "work") == ["README.md", "new.txt", "src/a b.py"]
    assert server.branches("acme/demo") == ["main", "work"]
    assert {request.kind for request in server.requests} >= {Kind.UPLOAD, Kind.RECEIVE_REFS, Kind.RECEIVE}


def test_large_bodies_go_both_ways(server: GitServer, tmp_path: Path) -> None:
    tree = clone(server.url("acme/demo"), tmp_path / "tree")
    noise = os.urandom(5_000_000)  # past git's post buffer, so that the push is chunked
    commit(tree, "noise.bin", noise, "Add noise")
    git("push", "--quiet", "origin", "main", cwd=tree)
    assert (clone(server.url("acme/demo"), tmp_path / "again") / "noise.bin").read_bytes() == noise


def test_gzipped_request(server: GitServer) -> None:
    refs = urlopen(f"{server.url('acme/demo')}/info/refs?service=git-upload-pack").read().decode()
    sha = refs.split("HEAD")[0][-41:-1]
    body = f"0032want {sha}\n00000009done\n".encode()
    headers = {"Content-Type": "application/x-git-upload-pack-request", "Content-Encoding": "gzip"}
    request = Request(f"{server.url('acme/demo')}/git-upload-pack", gzip.compress(body), headers)
    assert b"PACK" in urlopen(request).read()


def test_many_at_once(server: GitServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(lambda url: git("ls-remote", url, cwd=tmp_path).stdout, [server.url("acme/demo")] * 50))
    assert all("refs/heads/main" in out for out in done)


def test_partial_clone(server: GitServer, tmp_path: Path) -> None:
    git("clone", "--quiet", "--filter=blob:none", "--no-checkout", server.url("acme/demo"), "tree", cwd=tmp_path)
    missing = git("rev-list", "--objects", "--all", "--missing=print", cwd=tmp_path / "tree").stdout
    assert "?" in missing


def test_basic_authentication_may_change(tmp_path: Path) -> None:
    with GitServer(username="ada", password="first") as server:
        server.create("demo", {"a": "b"})
        address = server.url("demo").removeprefix("http://")
        assert "Authentication failed" in git("ls-remote", f"http://ada:no@{address}", cwd=tmp_path, check=False).stderr
        assert git("ls-remote", f"http://bob:first@{address}", cwd=tmp_path, check=False).returncode != 0
        git("ls-remote", f"http://ada:first@{address}", cwd=tmp_path)
        server.password = "second"
        assert git("ls-remote", f"http://ada:first@{address}", cwd=tmp_path, check=False).returncode != 0
        git("ls-remote", f"http://ada:second@{address}", cwd=tmp_path)
        assert {request.username for request in server.requests} == {None, "ada", "bob"}


def test_bare_token(tmp_path: Path) -> None:
    with GitServer(password="token") as server:
        server.create("demo", {"a": "b"})
        address = server.url("demo").removeprefix("http://")
        git("ls-remote", f"http://whoever:token@{address}", cwd=tmp_path)
        assert git("ls-remote", f"http://whoever:other@{address}", cwd=tmp_path, check=False).returncode != 0


def test_unknown_repository(server: GitServer) -> None:
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{server.url('acme/none')}/info/refs?service=git-upload-pack")


def test_answer_with_a_status_once(server: GitServer, tmp_path: Path) -> None:
    server.answer(Kind.UPLOAD_REFS, 503)
    assert "503" in git("ls-remote", server.url("acme/demo"), cwd=tmp_path, check=False).stderr
    git("ls-remote", server.url("acme/demo"), cwd=tmp_path)


@pytest.mark.parametrize(("after", "branches"), [(False, ["main"]), (True, ["main", "work"])])
def test_push_whose_connection_drops(server: GitServer, tmp_path: Path, *, after: bool, branches: list[str]) -> None:
    tree = clone(server.url("acme/demo"), tmp_path / "tree")
    commit(tree, "a", b"a", "Change")
    server.drop(Kind.RECEIVE, after=after)
    assert git("push", "origin", "HEAD:refs/heads/work", cwd=tree, check=False).returncode != 0
    assert server.branches("acme/demo") == branches


@pytest.mark.parametrize(("after", "branches"), [(False, ["main"]), (True, ["main", "work"])])
def test_push_that_is_held(server: GitServer, tmp_path: Path, *, after: bool, branches: list[str]) -> None:
    tree = clone(server.url("acme/demo"), tmp_path / "tree")
    commit(tree, "a", b"a", "Change")
    hold = server.hold(Kind.RECEIVE, after=after)
    pushing = threading.Thread(target=git, args=("push", "origin", "HEAD:refs/heads/work"), kwargs={"cwd": tree})
    pushing.start()
    hold.wait()
    assert server.branches("acme/demo") == branches
    hold.release()
    pushing.join()
    assert server.branches("acme/demo") == ["main", "work"]


def test_commit_by_somebody_else(server: GitServer) -> None:
    sha = server.commit("acme/demo", {"README.md": "# Changed\n"}, message="Move on")
    newest = server.log("acme/demo")[0]
    assert (newest.sha, newest.subject) == (sha, "Move on")
    assert server.files("acme/demo", "main") == ["README.md", "src/a b.py"]


@pytest.mark.parametrize("left_at", [b"", b"10\r\n", b"10\r\n0123", b"3\r\nabc\r\n", b"0\r\n"])
def test_a_client_that_leaves_in_the_middle_of_its_request(server: GitServer, left_at: bytes) -> None:
    """As one does that is killed while it pushes much. A thread that fails of it fails whatever test is on."""
    address = server.url("acme/demo").removeprefix("http://").partition("/")[0]
    head = (
        f"POST /acme/demo.git/git-receive-pack HTTP/1.1\r\nHost: {address}\r\n"
        "Content-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(head.encode() + left_at)
        client.shutdown(socket.SHUT_WR)
        while client.recv(100):
            pass
    deadline = time.monotonic() + 60
    while server._backends:
        assert time.monotonic() < deadline, "its backend waits for more"
        time.sleep(0.01)

"""A bare repository, and workspaces on it; everything ends with the test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.git_server import GitServer
from tests.support.repositories import BareRepositories
from tests.support.ssh_server import SshServer
from tests.unit.workspace.bench import FILES, Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        made = Bench(tmp_path / "data", stack)
        stack.callback(made.forget)
        yield made


@pytest.fixture
def origin(tmp_path: Path) -> BareRepositories:
    """Repository `demo`, branch `main`, with FILES."""
    root = tmp_path / "origin"
    root.mkdir()
    repositories = BareRepositories(root)
    repositories.create("demo", FILES)
    return repositories


@pytest.fixture
def git_server() -> Iterator[GitServer]:
    with GitServer(username="ada", password="secret-word") as server:
        server.create("demo", FILES)
        yield server


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server

"""Real services for the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.git_server import GitServer
from tests.support.postgres import postgres_server
from tests.support.rabbit import rabbit_server
from tests.support.s3 import s3_bucket, s3_server
from tests.support.service import Service
from tests.support.ssh_server import SshServer

__all__ = ["git", "postgres_server", "rabbit_server", "s3_bucket", "s3_server", "service", "ssh"]


@pytest.fixture
def git() -> Iterator[GitServer]:
    """Git over HTTP; user `ada`, password `correct horse`."""
    with GitServer(username="ada", password="correct horse") as server:
        server.create("acme/demo", {"README.md": "# Demo\n", "src/app.py": "print('hello')\n"})
        yield server


@pytest.fixture
def ssh() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """`treadle serve` with the best sandbox of this machine."""
    with Service(tmp_path / "data", RETRY_SECONDS="0.1,0.1,0.1") as running:
        yield running


#: The credentials of the fixture `git`.
HTTP_CREDENTIALS = "ada:correct horse"

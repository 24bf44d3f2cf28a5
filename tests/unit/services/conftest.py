"""Services on SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import Deployment, deployed
from tests.support.postgres import postgres_server
from tests.support.stores import database_url, sqlite_template, world

__all__ = ["database_url", "here", "postgres_server", "sqlite_template", "world"]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found

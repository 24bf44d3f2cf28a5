"""Services on SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import Deployment, deployed


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found

"""The agent-run API in this process, on SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.api.codegen.scene import Scene, scene


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as found:
        yield found

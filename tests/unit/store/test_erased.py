"""What is erased leaves nothing in SQLite's files either, once they are closed."""

from pathlib import Path

import pytest
from tests.support.stores import NOW, World, open_world

from treadle.store.address import sqlite_url

pytestmark = pytest.mark.anyio

SEALED = "v1:aaaaaaaa:" + "c2VhbGVkIHRleHQ" * 200


async def a_secret_that_is_erased(world: World) -> None:
    for _ in range(20):  # pages that nothing else fills
        run = await world.run(secrets={"git_http": SEALED})
        await world.store.request_kill(run.id, NOW)


async def test_no_file_holds_an_erased_secret(tmp_path: Path) -> None:
    async with open_world(sqlite_url(tmp_path / "treadle.db")) as world:
        await world.run(secrets={"git_http": "v1:aaaaaaaa:kept"})
        await a_secret_that_is_erased(world)
    assert holding(tmp_path, "kept")
    assert not holding(tmp_path, "c2VhbGVkIHRleHQ")


def holding(folder: Path, text: str) -> list[str]:
    return [path.name for path in folder.iterdir() if text.encode() in path.read_bytes()]

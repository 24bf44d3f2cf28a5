"""A process that rotates the sealing keys of a database, to be watched or killed."""

import asyncio
import sys
from pathlib import Path

from treadle.services.key_rotation import KeyRotation
from treadle.store.sql import SqlStore
from treadle.vault import FileKeys, KeyFile


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def rotate(url: str, path: Path, times: int) -> None:
    store = await SqlStore.open(url, upgrade=False)
    try:
        keys = KeyRotation(store, FileKeys(KeyFile(path)))
        for _ in range(times):
            say("begun")
            rotation = await keys.rotate()
            say(f"{rotation.key_id} {rotation.resealed.count} {len(rotation.resealed.unopened)}")
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(rotate(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))

"""A process that claims runs until none is left, ends each at once, and prints their ids:
`python -m tests.support.claimer URL NAME`."""

import asyncio
import json
import sys
from datetime import UTC, datetime

from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.store.sql import SqlStore

TASKS = 8


async def claim_all(url: str, name: str) -> list[int]:
    store = await SqlStore.open(url)
    claimed: list[int] = []

    async def work(task: int) -> None:
        while (run := await store.claim(f"{name}-{task}", datetime.now(UTC))) is not None:
            claimed.append(run.id)
            await store.finish(Fence(run.id, run.lease), RunStatus.SUCCESS, None, datetime.now(UTC))

    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)  # all begin together
        async with asyncio.TaskGroup() as tasks:
            for task in range(TASKS):
                tasks.create_task(work(task))
    finally:
        await store.close()
    return claimed


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(claim_all(*sys.argv[1:]))) + "\n")

"""A process that claims runs until none is left, ends each at once, and prints them: their ids, or, with a limit for
each organization, what it had when:
`python -m tests.support.claimer URL NAME [--slots N]`."""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.store.sql import SqlStore

TASKS = 8


@dataclass(frozen=True)
class Held:
    run: Run
    since: float
    until: float


class Claimer:
    def __init__(self, store: SqlStore, name: str, slots: int | None) -> None:
        self.held: list[Held] = []
        self._store = store
        self._name = name
        self._slots = slots

    async def work(self, task: int) -> None:
        while True:
            run = await self._store.claim(f"{self._name}-{task}", datetime.now(UTC), organization_slots=self._slots)
            since = time.monotonic()
            if run is not None:
                if self._slots is not None:
                    await asyncio.sleep(0.05)  # it is Running for as long as it takes to be caught at it
                self.held.append(Held(run, since, time.monotonic()))
                await self._store.finish(Fence(run.id, run.lease), RunStatus.SUCCESS, None, datetime.now(UTC))
            elif self._slots is None or not await self._store.queue_depth():
                return
            else:
                await asyncio.sleep(0.005)


async def claim_all(url: str, name: str, slots: int | None) -> list[Held]:
    store = await SqlStore.open(url)
    claimer = Claimer(store, name, slots)
    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)  # all begin together
        async with asyncio.TaskGroup() as tasks:
            for task in range(TASKS):
                tasks.create_task(claimer.work(task))
    finally:
        await store.close()
    return claimer.held


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("name")
    parser.add_argument("--slots", type=int)
    given = parser.parse_args()
    held = asyncio.run(claim_all(given.url, given.name, given.slots))
    said: object = [one.run.id for one in held]
    if given.slots is not None:
        said = [
            {
                "run": one.run.id,
                "organization": one.run.organization_id,
                "branch": one.run.branch_work,
                "since": one.since,
                "until": one.until,
            }
            for one in held
        ]
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()

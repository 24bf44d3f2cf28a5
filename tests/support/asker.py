"""A process that asks for admission under one name, all the time, with several tasks, and prints what it was told: for
each request when it was sent and answered (seconds since 1970), those that passed and those that were refused:
`python -m tests.support.asker URL NAME --limit N --seconds N (--times N | --passes N)`."""

import argparse
import asyncio
import json
import sys
import time
from datetime import UTC, datetime

from treadle.store.sql import SqlStore

TASKS = 8


class Asker:
    def __init__(self, store: SqlStore, given: argparse.Namespace) -> None:
        self.passed: list[tuple[float, float]] = []
        self.refused: list[tuple[float, float]] = []
        self._store = store
        self._given = given
        self._left = given.times

    async def work(self) -> None:
        while self._left > 0 and len(self.passed) < self._given.passes:
            self._left -= 1
            now = datetime.now(UTC)
            answer = await self._store.admit(
                self._given.name, limit=self._given.limit, seconds=self._given.seconds, now=now
            )
            (self.passed if answer.is_admitted else self.refused).append((now.timestamp(), time.time()))
            if not answer.is_admitted:
                await asyncio.sleep(0.002)  # the other processes want to ask too


async def ask(given: argparse.Namespace) -> Asker:
    store = await SqlStore.open(given.url)
    asker = Asker(store, given)
    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)  # all begin together
        async with asyncio.TaskGroup() as tasks:
            for _ in range(TASKS):
                tasks.create_task(asker.work())
    finally:
        await store.close()
    return asker


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("name")
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--times", type=int, default=sys.maxsize)
    parser.add_argument("--passes", type=int, default=sys.maxsize)
    asker = asyncio.run(ask(parser.parse_args()))
    sys.stdout.write(json.dumps({"passed": asker.passed, "refused": asker.refused}) + "\n")


if __name__ == "__main__":
    main()

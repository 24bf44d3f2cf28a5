"""What is written down while it goes: the rows, past all links and by SQL; and the events, as clients read them."""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx2
import psycopg

from tests.support.cluster_doors import PROCESSES
from tests.support.service import Json

SAMPLE_SECONDS = 0.2
READ_PAUSE_SECONDS = 0.3
#: A stream says something at least every 15 s; one that is silent for longer is on a broken link or a paused process.
SILENCE_SECONDS = 20.0
END_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A run's row at some time; `at` in seconds since the start of the watch."""

    at: float
    status: str
    lease: int
    last_event: int


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as a client got it; `digest` of all that it says."""

    number: int
    digest: str


def digest_of(event: Json) -> str:
    """The same for the same event, through whatever door it came."""
    told = {name: event[name] for name in ("number", "type", "step", "phase", "data")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class Sampler:
    """Reads every run's row again and again, on a thread of its own, and keeps what changed."""

    def __init__(self, database_url: str) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self._url = database_url
        self._started = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        while not self._ending.is_set():
            # The database is killed now and then, too; and before the first process came up it is empty.
            with suppress(psycopg.OperationalError, psycopg.errors.UndefinedTable), self._connect() as connection:
                while not self._ending.is_set():
                    self._look(connection)
                    self._ending.wait(SAMPLE_SECONDS)
            self._ending.wait(SAMPLE_SECONDS)

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self._url, autocommit=True, connect_timeout=30)

    def _look(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        rows = connection.execute("SELECT uuid, status, lease, last_event FROM runs").fetchall()
        at = round(time.monotonic() - self._started, 2)
        for uuid, status, lease, last_event in rows:
            kept = self.samples.setdefault(str(uuid), [])
            sample = Sample(at, str(status), int(str(lease)), int(str(last_event)))
            if not kept or (kept[-1].status, kept[-1].lease, kept[-1].last_event) != (
                sample.status,
                sample.lease,
                sample.last_event,
            ):
                kept.append(sample)


class Readers:
    """A client for each run that `follow` names: by turns one that has a stream, and one that asks again and again.
    On a thread of its own. `seen` is what each got, in its order."""

    def __init__(self, urls: Sequence[str], key: str) -> None:
        self.seen: dict[str, list[Seen]] = {}
        self.finished: set[str] = set()
        self.faults: list[str] = []
        self._urls = urls
        self._headers = {"X-Api-Key": key}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="readers")
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(END_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_SECONDS)
        self._loop.close()

    def follow(self, uuid: str) -> None:
        """From now on, to the run's last event."""
        number = len(self.seen)
        self.seen[uuid] = []
        read = self._stream if number % 2 else self._poll
        self._loop.call_soon_threadsafe(self._begin, uuid, number, read)

    def wait(self, uuids: Sequence[str], seconds: float) -> None:
        """Until they have seen the ends of those runs, or the time is over."""
        deadline = time.monotonic() + seconds
        while not self.finished.issuperset(uuids) and time.monotonic() < deadline:
            time.sleep(0.1)

    # ---- on the readers' thread

    def _begin(self, uuid: str, number: int, read: "Callable[[httpx2.AsyncClient, str, str], object]") -> None:
        task = self._loop.create_task(self._read(uuid, number, read), name=f"reader of {uuid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, uuid: str, turn: int, read: "Callable[[httpx2.AsyncClient, str, str], object]") -> None:
        timeout = httpx2.Timeout(10, read=SILENCE_SECONDS)
        async with httpx2.AsyncClient(timeout=timeout, headers=self._headers) as client:
            while uuid not in self.finished:
                turn += 1
                try:
                    await read(client, self._urls[turn % len(self._urls)], uuid)  # type: ignore[misc] # of this class
                except httpx2.TransportError:
                    pass  # that door is shut now; another one, or the same later
                except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the report
                    self.faults.append(f"the reader of {uuid} failed: {error!r}")
                    return
                await asyncio.sleep(READ_PAUSE_SECONDS)

    async def _poll(self, client: httpx2.AsyncClient, url: str, uuid: str) -> None:
        answer = await client.get(
            f"{url}{PROCESSES}/by-id/{uuid}/events?after={self._last(uuid)}", headers={"Accept": "application/json"}
        )
        if self._is_passing(answer.status_code, uuid):
            return
        for event in answer.json():
            self._take(uuid, event)

    async def _stream(self, client: httpx2.AsyncClient, url: str, uuid: str) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._last(uuid))}
        async with client.stream("GET", f"{url}{PROCESSES}/by-id/{uuid}/events", headers=headers) as answer:
            if self._is_passing(answer.status_code, uuid):
                return
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    self._take(uuid, json.loads(line.removeprefix("data:")))

    def _is_passing(self, status: int, uuid: str) -> bool:
        """Whether it is to be asked again. Anything but an answer, and 'the database is away', is a fault."""
        if status in {200, 503}:
            return status != 200
        if status != 204:
            raise RuntimeError(f"the events of {uuid} were answered with {status}")
        return True

    def _last(self, uuid: str) -> int:
        return self.seen[uuid][-1].number if self.seen[uuid] else 0

    def _take(self, uuid: str, event: Json) -> None:
        self.seen[uuid].append(Seen(int(event["number"]), digest_of(event)))
        if event["type"] == "run.finished":
            self.finished.add(uuid)


def as_json(samples: Mapping[str, Sequence[Sample]]) -> str:
    """For the kept report."""
    told = {
        uuid: [[each.at, each.status, each.lease, each.last_event] for each in kept] for uuid, kept in samples.items()
    }
    return json.dumps(told, indent=1)

"""(page) The pages: a list of 100,000 runs and a run of 50,000 events beside empty ones; how soon a change is seen.

"Time to first content" is from the request's first byte to the answer's first byte of HTML, on a connection of its own.
"""

import asyncio
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import httpx2
from tests.support.service import Service

from benchmarks.measure import Row, p95, scratch
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.identity import Principal, Role
from treadle.domain.run import EngineName, RunDraft, StepDraft
from treadle.domain.states import Phase, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.store.sql import SqlStore

RUNS, EVENTS = 100_000, 50_000
REQUESTS = 40
WATCHERS = 100
CHANGES = 20


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder:
        services = {
            name: Service(Path(folder) / name, ("--no-worker",), LEASE_SECONDS="3600", POLL_SECONDS="0.5")
            for name in ("empty", "full")
        }
        for name, service in services.items():
            service.launch()
            service.stop()
            asyncio.run(_fill(service.data, RUNS if name == "full" else 0, EVENTS if name == "full" else 0))
        with services["empty"] as empty, services["full"] as full:
            doors = {service: _sign_in(service) for service in (empty, full)}
            pages = {
                "list, empty": (empty, "/runs"),
                "list of 100,000": (full, "/runs"),
                "list of 100,000, one status": (full, "/runs?status=Failed"),
                "list of 100,000, a search without a match": (full, "/runs?q=nothing+like+that"),
                "run, with 3 events": (empty, "/runs/1"),
                "run, with 50,000 events": (full, f"/runs/{RUNS + 1}"),
            }
            yield from _measured(pages, doors)
            yield from _live(full, doors[full])


def _measured(pages: dict[str, tuple[Service, str]], doors: dict[Service, str]) -> Iterator[Row]:
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in pages}
    for round_ in range(REQUESTS + 2):
        for name, (service, path) in pages.items():
            loaded = _load(service.url, path, doors[service])
            if round_ > 1:  # the first ones warm what is cached
                taken[name].append(loaded)
    for name, found in taken.items():
        yield Row(f"{name}: first content, p95", p95([one[0] for one in found]) * 1000, "ms")
        yield Row(f"{name}: whole page, median", statistics.median(one[1] for one in found) * 1000, "ms")
        yield Row(f"{name}: sent", found[0][2] / 1024, "KiB")
    for full, empty in (("list of 100,000", "list, empty"), ("run, with 50,000 events", "run, with 3 events")):
        pairs = zip(taken[full], taken[empty], strict=True)
        yield Row(f"{full} beside {empty}, ratio", statistics.median(a[1] / b[1] for a, b in pairs))


def _load(url: str, path: str, cookie: str) -> tuple[float, float, int]:
    """Seconds to the first byte and to the last, and how many there were."""
    host = urlsplit(url)
    began = time.perf_counter()
    with socket.create_connection((host.hostname, host.port), timeout=60) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: {host.netloc}\r\nCookie: {cookie}\r\nAccept: text/html\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        first, body = 0.0, b""
        while data := connection.recv(1 << 16):
            first = first or time.perf_counter() - began
            body += data
    if not body.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{path}: {body[:200]!r}")
    return first, time.perf_counter() - began, len(body)


def _live(service: Service, cookie: str) -> Iterator[Row]:
    """From before a run is killed, which changes its row and tells its followers, to the fragment at each watcher."""
    for name, path in (("run", "/runs/{run}/stream"), ("list", "/runs/stream")):
        lags: list[float] = []
        for number in range(CHANGES if name == "run" else CHANGES // 4):
            run = RUNS - number - (0 if name == "run" else CHANGES)
            lags += _watched(service, cookie, path.format(run=run), run)
        lags.sort()
        yield Row(f"{name}: a change at {WATCHERS} watchers, median", statistics.median(lags) * 1000, "ms")
        yield Row(f"{name}: a change at {WATCHERS} watchers, p99", lags[int(len(lags) * 0.99) - 1] * 1000, "ms")


def _watched(service: Service, cookie: str, path: str, run: int) -> list[float]:
    uuid = _uuid_of(service, run)
    readers = [
        _Reader(service.url, path, cookie, f'href="/runs/{run}"' if "runs/stream" in path else "Stopped")
        for _ in range(WATCHERS)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        if not reader.is_open.wait(30):
            raise RuntimeError(f"{path} was not opened")
    time.sleep(1.5)  # what the streams begin with is not what is measured
    began = time.perf_counter()
    for reader in readers:
        reader.since = began
    service.request("PUT", f"/code-generation/processes/by-id/{uuid}/kill").raise_for_status()
    for reader in readers:
        reader.join(30)
    return [reader.at - began for reader in readers if reader.at]


def _uuid_of(service: Service, run: int) -> str:
    skip = RUNS + 1 - run
    listed = service.request("GET", f"/code-generation/processes?limit=1&skip={skip}").json()
    return str(listed[0]["id"])


class _Reader(threading.Thread):
    """One watcher, until it has seen what it waits for."""

    def __init__(self, url: str, path: str, cookie: str, wanted: str) -> None:
        super().__init__(daemon=True)
        self.is_open = threading.Event()
        self.since: float | None = None
        self.at = 0.0
        self._host = urlsplit(url)
        self._path = path
        self._cookie = cookie
        self._wanted = wanted.encode()

    def run(self) -> None:
        with socket.create_connection((self._host.hostname, self._host.port), timeout=30) as connection:
            head = f"GET {self._path} HTTP/1.1\r\nHost: {self._host.netloc}\r\nCookie: {self._cookie}\r\n"
            connection.sendall(f"{head}Accept: text/event-stream\r\n\r\n".encode())
            seen = b""
            while data := connection.recv(1 << 16):
                self.is_open.set()
                if self.since is None:
                    continue
                seen += data
                if self._wanted in seen:
                    self.at = time.perf_counter()
                    return


def _sign_in(service: Service) -> str:
    """The cookie."""
    form = urlencode({"by": "key", "key": service.key, "next": "/runs"})
    answer = httpx2.post(
        f"{service.url}/sign-in",
        content=form,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Origin": service.url},
        follow_redirects=False,
        timeout=30,
    )
    return answer.headers["set-cookie"].partition(";")[0]


async def _fill(data: Path, runs: int, events: int) -> None:
    """`runs` queued ones, then one that is at work with `events`; a tenth of a page for the empty house."""
    store = await SqlStore.open(f"sqlite:///{data / 'treadle.db'}")
    organization = (await store.organizations())[0]
    user, _ = (await store.users(organization.id))[0]
    owner = Principal(organization.id, organization.uuid, user.id, user.uuid, user.email, user.name, Role.ADMIN)
    for done in range(0, runs, 500):
        drafts = [_draft(number) for number in range(done, min(done + 500, runs))]
        await asyncio.gather(*(_create(store, draft, owner) for draft in drafts))
    last = await _create(store, _draft(runs), owner)
    claimed = await store.claim("bench", datetime.now(UTC), run_id=last)
    if claimed is None:
        raise RuntimeError("the run could not be claimed")
    fence = Fence(claimed.id, claimed.lease)
    begun = Draft(EventType.STEP_STARTED, {"text": "x", "isCommitable": True}, 1)
    await store.record(fence, [begun], datetime.now(UTC), step=StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS))
    for done in range(0, events, 500):
        batch = [drafted for number in range(done, min(done + 500, events), 2) for drafted in _call(number)]
        await store.record(fence, batch, datetime.now(UTC))
    await store.close()


def _draft(number: int) -> RunDraft:
    steps = (StepDraft(f"Mend number {number}"), StepDraft("Test it"), StepDraft("Sum it up", is_commitable=False))
    return RunDraft("https://example.com/acme/demo.git", "main", f"work-{number}", steps, engine=EngineName.DUMMY)


async def _create(store: SqlStore, draft: RunDraft, owner: Principal) -> int:
    run, _ = await store.create_run(
        draft, owner, uuid=uuid4(), step_ids=[uuid4() for _ in draft.steps], secrets={}, now=datetime.now(UTC)
    )
    return run.id


def _call(number: int) -> tuple[Draft, Draft]:
    begun: JsonObject = {"id": f"t{number}", "tool": "Bash", "input": {"command": f"make test-{number}"}}
    ended: JsonObject = {"id": f"t{number}", "output": "ok\n" * 20, "isError": False}
    return (
        Draft(EventType.TOOL_STARTED, begun, 1, Phase.IMPLEMENTATION),
        Draft(EventType.TOOL_FINISHED, ended, 1, Phase.IMPLEMENTATION),
    )

"""What monitoring asks, and how requests and events are measured."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import httpx2
import pytest
from structlog.testing import capture_logs
from tests.support.deployment import PROCESSES, Deployment, body
from tests.support.figures import Figures
from tests.support.otlp import Collector, Seen

from treadle import telemetry
from treadle.api.deps import Check
from treadle.api.health import ANSWER_SECONDS, Readiness
from treadle.api.observed import Observed, observed
from treadle.api.operations import operations_app
from treadle.api.streams import Reader, Streams
from treadle.domain.errors import Unavailable
from treadle.domain.events import Draft, Event, EventType
from treadle.domain.identity import Role
from treadle.ports import Statistics

pytestmark = pytest.mark.anyio

REQUESTS = "treadle_http_request_seconds_count"


@pytest.fixture
async def measuring() -> AsyncIterator[None]:
    async with telemetry.installed():
        yield


async def scraped() -> Figures:
    return Figures((await telemetry.exposition() or b"").decode())


def client(app: object) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]  # an ASGI app
    return httpx2.AsyncClient(transport=transport, base_url="http://treadle.test")


# ---- /metrics


async def test_metrics_are_for_admins(here: Deployment) -> None:
    assert (await here.http.get("/metrics")).status_code == 401
    assert (await here.http.get("/metrics", headers={"X-Api-Key": "trd_unknown-key-of-nobody"})).status_code == 401
    for role in (Role.MEMBER, Role.MANAGER):
        member = await here.member(f"{role.lower()}@example.com", role)
        answer = await here.http.get("/metrics", headers=member.headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "treadle_" not in answer.text
    elsewhere = await here.services.identity.add_organization("Elsewhere")
    guest = await here.member("guest@example.com", Role.ADMIN, organization=elsewhere)
    assert (await here.http.get("/metrics", headers=guest.headers)).status_code == 403, "all organizations' figures"


@pytest.mark.usefixtures("measuring")
async def test_an_admin_reads_them_by_key_and_by_token(here: Deployment) -> None:
    telemetry.count(telemetry.LEASES_LOST)
    token = (await here.http.post("/auth/token", headers=here.admin.headers)).json()["accessToken"]
    for headers in (
        here.admin.headers,
        {"Authorization": f"Bearer {here.admin.key}"},
        {"Authorization": f"Bearer {token}"},
    ):
        answer = await here.http.get("/metrics", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert answer.headers["cache-control"] == "no-store"
        assert Figures(answer.text)["treadle_leases_lost_total", {}] == 1


async def test_where_nothing_is_measured_it_says_so(here: Deployment) -> None:
    answer = await here.http.get("/metrics", headers=here.admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_measured")


@pytest.mark.usefixtures("measuring")
async def test_the_port_of_operations_asks_nobody_who_they_are() -> None:
    async def ask() -> Statistics:
        return Statistics(1, 0, 0, 0.0, {}, 0)

    telemetry.statistics_from(ask)
    async with client(operations_app({"store": _fine})) as http:
        assert Figures((await http.get("/metrics")).text)["treadle_queue_depth", {}] == 1
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).json() == {"status": "ok", "checks": {"store": "ok"}}
        assert (await http.get("/elsewhere")).status_code == 404
        assert (await http.post("/metrics")).status_code == 405


# ---- readiness


async def _fine() -> None:
    return


async def test_parts_are_asked_at_once_and_each_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.api.health.CHECK_SECONDS", 0.05)
    together = asyncio.Barrier(2)

    async def hangs() -> None:
        await together.wait()
        await asyncio.Event().wait()

    async def fails() -> None:
        await together.wait()
        raise Unavailable("amqp://user:canary@broker.example does not answer")

    async with client(operations_app({"store": hangs, "broker": fails, "blobs": _fine})) as http:
        with capture_logs() as logged:
            answer = await asyncio.wait_for(http.get("/readyz"), 60)
    assert answer.status_code == 503
    assert set(answer.json()["errors"]) == {"store", "broker"}
    assert "canary" not in answer.text
    assert {line["part"] for line in logged} == {"store", "broker"}


async def test_many_probes_ask_once_a_second() -> None:
    asked, time = 0, 100.0

    async def check() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)

    readiness = Readiness({"store": check}, now=lambda: time)
    answers = await asyncio.gather(*(readiness.look() for _ in range(10)))
    assert answers == [{"store": True}] * 10
    assert asked == 1
    time += ANSWER_SECONDS
    await readiness.look()
    assert asked == 2


async def test_a_process_that_starts_meanwhile_breaks_no_answer() -> None:
    checks: dict[str, Check] = {}

    async def not_started() -> None:
        del checks["start"]
        checks.update({"store": _fine, "blobs": _fine})
        raise Unavailable("the process is starting")

    checks["start"] = not_started
    time = 100.0
    readiness = Readiness(checks, now=lambda: time)
    assert await readiness.look() == {"start": False}
    time += ANSWER_SECONDS
    assert await readiness.look() == {"store": True, "blobs": True}


# ---- requests


async def test_what_nobody_measures_is_not_in_the_path(here: Deployment) -> None:
    assert observed(here.app) is here.app


@pytest.mark.usefixtures("measuring")
async def test_requests_are_counted_by_route_and_not_by_address(here: Deployment) -> None:
    async with client(observed(here.app)) as http:
        run = (await http.post(PROCESSES, headers=here.admin.headers, json=body())).json()
        for _ in range(2):
            assert (await http.get(f"{PROCESSES}/by-id/{run['id']}", headers=here.admin.headers)).status_code == 200
        await http.get(f"{PROCESSES}/by-id/{run['id']}")
        await http.get("/secret/place")
        await http.request("BREW", "/healthz")
        await http.get("/healthz")
    found = await scraped()
    by_id = f"{PROCESSES}/by-id/{{id}}"
    assert found[REQUESTS, {"route": PROCESSES, "method": "POST", "status": "2xx"}] == 1
    assert found[REQUESTS, {"route": by_id, "method": "GET", "status": "2xx"}] == 2
    assert found[REQUESTS, {"route": by_id, "method": "GET", "status": "4xx"}] == 1
    assert found[REQUESTS, {"route": "none", "method": "GET", "status": "4xx"}] == 1
    assert found[REQUESTS, {"route": "/healthz", "method": "other", "status": "4xx"}] == 1
    assert found[REQUESTS, {"route": "/healthz", "method": "GET", "status": "2xx"}] == 1
    assert run["id"] not in str(list(found.labels(REQUESTS)))


@pytest.mark.usefixtures("measuring")
async def test_a_defect_is_counted_too(here: Deployment) -> None:
    async def broken(_request: object) -> None:
        raise RuntimeError

    here.app.add_route("/broken", broken)  # type: ignore[arg-type]  # it never gets to an answer
    async with client(observed(here.app)) as http:
        with capture_logs():
            assert (await http.get("/broken")).status_code == 500
    assert (await scraped())[REQUESTS, {"route": "/broken", "status": "5xx"}] == 1


@pytest.mark.usefixtures("measuring")
async def test_a_stream_counts_when_it_begins(here: Deployment) -> None:
    process = await here.start()
    app, seen = Observed(here.app), asyncio.Event()
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"{PROCESSES}/by-id/{process['id']}/events",
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"x-api-key", here.admin.key.encode()), (b"accept", b"text/event-stream")],
    }

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: object) -> None:
        if isinstance(message, dict) and message["type"] == "http.response.body":
            seen.set()

    following = asyncio.create_task(app(scope, receive, send))
    await asyncio.wait_for(seen.wait(), 60)
    assert (await scraped())[REQUESTS, {"route": f"{PROCESSES}/by-id/{{id}}/events", "status": "2xx"}] == 1
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert (await scraped())[REQUESTS, {"route": f"{PROCESSES}/by-id/{{id}}/events"}] == 1


async def test_a_request_goes_on_with_its_callers_trace(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.telemetry.instruments.FLUSH_SECONDS", 120.0)  # the collector gets all of them
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with Collector() as collector:
        async with telemetry.installed(otlp_endpoint=collector.url), client(observed(here.app)) as http:
            headers = {**here.admin.headers, "traceparent": f"00-{trace}-{parent}-01"}
            answer = await http.post(PROCESSES, headers=headers, json=body())
            await http.get(f"{PROCESSES}/by-id/{answer.json()['id']}", headers=here.admin.headers)
            await http.get("/healthz")
            await http.get("/nowhere")
        found: Sequence[Seen] = collector.spans
        raw = b"".join(collector.raw)
    requests = {span.name: span for span in found if span.kind == "SERVER"}
    assert set(requests) == {f"POST {PROCESSES}", f"GET {PROCESSES}/by-id/{{id}}", "GET none"}
    post = requests[f"POST {PROCESSES}"]
    assert (post.trace, post.parent) == (trace, parent)
    assert post.attributes["http.response.status_code"] == 200
    assert requests[f"GET {PROCESSES}/by-id/{{id}}"].trace != trace
    assert here.admin.key.encode() not in raw


# ---- events


@pytest.mark.usefixtures("measuring")
async def test_how_late_events_are(here: Deployment) -> None:
    """Those that happen while somebody follows; the older ones were late for nobody."""
    await here.start()
    run, fence = await here.claim()
    run = await here.store.get_run_by_id(run.id)

    def frame(event: Event) -> bytes:
        return b"%d" % event.number

    streams = Streams(here.services.runs, frame, here.clock)
    async with aclosing(streams.frames(run, 0, Reader())) as frames:
        await anext(frames)
        await here.store.record(fence, [Draft(EventType.ENGINE_TEXT, {"text": "hello"})], here.clock.now())
        here.clock.advance(3)
        here.signals.notify(run.id)
        assert await anext(frames) == b"%d" % (run.last_event + 1)
    found = await scraped()
    assert found["treadle_event_lag_seconds_count", {}] == 1
    assert found["treadle_event_lag_seconds_sum", {}] == 3

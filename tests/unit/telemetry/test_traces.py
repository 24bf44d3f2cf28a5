"""Spans: whose children they are, what they say and what not, and that nobody waits for the collector."""

import asyncio
import socket
import sys
import time
from collections.abc import Iterator

import pytest
import structlog
from tests.support.otlp import Collector, Seen

from treadle import telemetry
from treadle.domain.errors import ConfigurationError, GitError
from treadle.telemetry.instruments import FLUSH_SECONDS

pytestmark = pytest.mark.anyio

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REMOTE = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Whoever ends waits until it has all, however slow the machine is."""
    monkeypatch.setattr("treadle.telemetry.instruments.FLUSH_SECONDS", 120.0)
    monkeypatch.setattr("treadle.telemetry.traces.EXPORT_SECONDS", 120.0)
    with Collector() as running:
        yield running


def by_name(collector: Collector) -> dict[str, Seen]:
    return {span.name: span for span in collector.spans}


async def test_spans_are_nested_across_tasks(collector: Collector) -> None:
    async def child(name: str) -> None:
        with telemetry.span(name):
            await asyncio.sleep(0)

    async with telemetry.installed(otlp_endpoint=collector.url):
        with telemetry.span("outer", size=3):
            await asyncio.gather(child("one"), child("two"))
        with telemetry.timed(telemetry.GIT_SECONDS, "git push", command="push"):
            pass
    found = by_name(collector)
    assert collector.paths[0] == "/v1/traces"
    assert {found[name].parent for name in ("one", "two")} == {found["outer"].id}
    assert {found[name].trace for name in ("one", "two")} == {found["outer"].trace}
    assert found["outer"].parent == found["git push"].parent == ""
    assert found["git push"].trace != found["outer"].trace
    assert found["outer"].attributes == {"treadle.size": 3}
    assert found["git push"].attributes == {"treadle.command": "push"}
    assert found["outer"].resource["service.name"] == "treadle"


async def test_a_trace_goes_on_in_another_process(collector: Collector) -> None:
    async with telemetry.installed(otlp_endpoint=f"{collector.url}/"):
        with telemetry.continued(REMOTE, "POST", method="POST") as span:
            span.rename("POST /processes")
            span.set(route="/processes", status_code=200)
            handed = telemetry.traceparent()
        assert telemetry.traceparent() is None
        with telemetry.continued(handed, "run"):
            pass
    found = by_name(collector)
    request, run = found["POST /processes"], found["run"]
    assert (request.trace, request.parent, request.kind) == (TRACE, PARENT, "SERVER")
    assert handed == f"00-{TRACE}-{request.id}-01"
    assert (run.trace, run.parent, run.kind) == (TRACE, request.id, "CONSUMER")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/processes",
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01\nx",
    ],
)
async def test_what_is_no_trace_begins_a_new_one(collector: Collector, given: str | None) -> None:
    async with telemetry.installed(otlp_endpoint=collector.url):
        with telemetry.span("around"), telemetry.continued(given, "run"):
            pass
    run = by_name(collector)["run"]
    assert run.parent == ""
    assert run.trace not in {TRACE, by_name(collector)["around"].trace}


async def test_who_samples_nothing_gets_nothing(collector: Collector) -> None:
    async with telemetry.installed(otlp_endpoint=collector.url):
        with telemetry.continued(REMOTE[:-1] + "0", "run"), telemetry.span("inside"):
            assert telemetry.traceparent() is not None
        with telemetry.span("other"):
            pass
    assert [span.name for span in collector.spans] == ["other"]


async def test_an_error_is_on_its_span_by_code_and_its_message_is_not(collector: Collector) -> None:
    async with telemetry.installed(otlp_endpoint=collector.url):
        with pytest.raises(GitError), telemetry.span("treadle's"):
            raise GitError("fatal: canary-secret was refused")
        with pytest.raises(KeyError), telemetry.span("python's"):
            raise KeyError("canary-secret")
        with pytest.raises(asyncio.CancelledError), telemetry.span("cancelled"):
            raise asyncio.CancelledError
    found = by_name(collector)
    assert (found["treadle's"].is_error, found["treadle's"].status) == (True, GitError.code)
    assert (found["python's"].is_error, found["python's"].attributes) == (True, {"error.type": "KeyError"})
    assert (found["cancelled"].is_error, found["cancelled"].attributes) == (False, {"error.type": "CancelledError"})
    assert not any(b"canary" in body for body in collector.raw)


async def test_the_log_names_the_trace(collector: Collector) -> None:
    def said() -> object:
        return structlog.contextvars.get_contextvars().get("trace_id")

    async with telemetry.installed(otlp_endpoint=collector.url):
        with telemetry.continued(REMOTE, "run"):
            with telemetry.span("inside"):
                assert said() == TRACE
            with telemetry.continued(None, "other"):
                assert said() not in {TRACE, None}
            assert said() == TRACE
        assert said() is None


# ---- a collector that is away


async def test_a_collector_that_is_away_delays_nothing() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        started = time.monotonic()
        async with telemetry.installed(otlp_endpoint=f"http://127.0.0.1:{closed.getsockname()[1]}"):
            for number in range(20_000):  # more than wait for it
                with telemetry.span("work", number=number):
                    pass
            worked = time.monotonic() - started
            started = time.monotonic()
        assert time.monotonic() - started < FLUSH_SECONDS + 30
    assert worked < 20_000 * 0.005


async def test_one_that_never_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.telemetry.traces.EXPORT_SECONDS", 120.0)
    with Collector(is_silent=True) as silent:
        async with telemetry.installed(otlp_endpoint=silent.url):
            with telemetry.span("work"):
                pass
            started = time.monotonic()
        assert time.monotonic() - started < FLUSH_SECONDS + 30


@pytest.mark.parametrize("address", ["collector:4318", "ftp://collector", "http://", "4318"])
async def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigurationError, match="TREADLE_OTLP_ENDPOINT"):
        async with telemetry.installed(otlp_endpoint=address):
            pass
    assert not telemetry.is_measuring()


async def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "treadle.telemetry.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError) as missing:
        async with telemetry.installed(otlp_endpoint="http://collector.example:4318"):
            pass
    assert missing.value.hint == "pip install 'treadle[telemetry]'"

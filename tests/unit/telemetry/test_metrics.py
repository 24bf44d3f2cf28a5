"""The table of metrics, what is kept of it, and that nothing is where nobody measures."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest
from structlog.testing import capture_logs
from tests.support.figures import Figures

from treadle import telemetry
from treadle.ports import Statistics
from treadle.telemetry import Kind, Metric
from treadle.telemetry.prometheus import STATISTICS_AGE_SECONDS

pytestmark = pytest.mark.anyio

HOUSE = Statistics(new=5, running=3, blocked=2, waiting_seconds=41.5, by_worker={"a": 2, "b": 1}, kill_requested=1)


@pytest.fixture
async def measuring() -> AsyncIterator[None]:
    async with telemetry.installed():
        yield


async def figures() -> Figures:
    text = await telemetry.exposition()
    assert text is not None
    return Figures(text.decode())


# ---- the table


@pytest.mark.parametrize("metric", telemetry.METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"treadle_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.help.endswith(".")
    assert not any(unit in metric.name for unit in ("milli", "minute", "_ms"))
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith("_seconds")
        assert len(metric.buckets) > 5
        assert all(low < high for low, high in pairwise(metric.buckets))
    else:
        assert metric.buckets == ()
    assert not metric.first or len(metric.labels) == 1


def test_no_label_names_what_is_without_end() -> None:
    labels = {label for metric in telemetry.METRICS for label in metric.labels}
    assert labels <= {"command", "direction", "engine", "found", "kind", "method", "outcome", "phase", "reason"} | {
        "route",
        "start",
        "status",
    }
    assert len({metric.name for metric in telemetry.METRICS}) == len(telemetry.METRICS)


# ---- nothing installed


async def test_without_instruments_all_of_it_does_nothing() -> None:
    assert not telemetry.is_measuring()
    with telemetry.timed(telemetry.GIT_SECONDS, "git push", command="push") as span:
        span.set(exit_code=1)
        span.rename("git fetch")
        assert telemetry.traceparent() is None
    with telemetry.span("outer"), telemetry.continued("00-" + "1" * 32 + "-" + "2" * 16 + "-01", "run"):
        assert telemetry.traceparent() is None
    telemetry.count(telemetry.LEASES_LOST)
    telemetry.observe(telemetry.EVENT_LAG_SECONDS, 1.0)
    telemetry.gauge(telemetry.SLOTS_USED, lambda: 1)
    assert await telemetry.exposition() is None


def test_nothing_is_imported_before_it_is_installed() -> None:
    """`treadle --help` and the SDK do not pay for it."""
    program = (
        "import sys, treadle.telemetry as t\n"
        "with t.timed(t.GIT_SECONDS, 'git', command='add'): t.traceparent()\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('prometheus_client', 'opentelemetry', 'requests')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_metrics_alone_do_not_load_the_packages_for_traces() -> None:
    program = (
        "import asyncio, sys, treadle.telemetry as t\n"
        "async def main():\n"
        "    async with t.installed(): print(len(await t.exposition()) > 1000)\n"
        "asyncio.run(main())\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('opentelemetry', 'requests')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "[]"]


# ---- installed


@pytest.mark.usefixtures("measuring")
async def test_a_body_is_timed_by_its_outcome() -> None:
    metric, began = telemetry.GIT_SECONDS, time.monotonic()
    with telemetry.timed(metric, "git push", command="push", remote="not a label"):
        await asyncio.sleep(0.02)
    took = time.monotonic() - began
    with pytest.raises(ValueError, match="broken"), telemetry.timed(metric, "git push", command="push"):
        raise ValueError("broken")
    with pytest.raises(asyncio.CancelledError), telemetry.timed(metric, "git push", command="push"):
        raise asyncio.CancelledError
    with telemetry.timed(metric, "git push", command="push") as span:
        span.set(outcome="error")
    found = await figures()
    name = f"{metric.name}_count"
    assert [found[name, {"command": "push", "outcome": way}] for way in ("ok", "error", "cancelled")] == [1, 2, 1]
    assert 0.02 <= found[f"{metric.name}_sum", {"command": "push", "outcome": "ok"}] <= took
    assert {frozenset(labels) for labels in found.labels(name)} == {frozenset({"command", "outcome"})}


@pytest.mark.usefixtures("measuring")
async def test_a_label_may_be_known_only_at_the_end() -> None:
    with telemetry.timed(telemetry.PREPARE_SECONDS, "prepare") as span:
        span.set(start="warm")
    assert (await figures())["treadle_workspace_prepare_seconds_count", {"start": "warm", "outcome": "ok"}] == 1


@pytest.mark.usefixtures("measuring")
async def test_counting() -> None:
    telemetry.count(telemetry.RETRIES, engine="Claude", reason="rate_limited")
    telemetry.count(telemetry.RETRIES, 2, engine="Claude", reason="rate_limited")
    telemetry.count(telemetry.LEASES_LOST)
    found = await figures()
    assert found["treadle_engine_retries_total", {"engine": "Claude", "reason": "rate_limited"}] == 3
    assert found["treadle_leases_lost_total", {}] == 1


@pytest.mark.usefixtures("measuring")
async def test_what_an_alert_looks_at_is_zero_before_it_counts() -> None:
    found = await figures()
    assert found["treadle_leases_lost_total", {}] == 0
    assert found["treadle_swept_runs_total", {"found": "failed"}] == 0
    assert found["treadle_runs_finished_total", {"status": "Failed"}] == 0
    assert not [name for name in found.names() if name.endswith("_created")]
    assert {"process_resident_memory_bytes", "python_info"} <= found.names()


@pytest.mark.usefixtures("measuring")
async def test_gauges_are_read_at_each_scrape_and_absent_where_nobody_has_them() -> None:
    used = 1
    telemetry.gauge(telemetry.SLOTS_USED, lambda: used)
    assert (await figures())["treadle_slots_used", {}] == 1
    used = 3
    found = await figures()
    assert found["treadle_slots_used", {}] == 3
    assert "treadle_slots_free" not in found
    assert "treadle_store_up" not in found


@pytest.mark.usefixtures("measuring")
async def test_the_house() -> None:
    async def ask() -> Statistics:
        return HOUSE

    telemetry.statistics_from(ask)
    found = await figures()
    assert found["treadle_store_up", {}] == 1
    assert found["treadle_queue_depth", {}] == 5
    assert found["treadle_queue_blocked", {}] == 2
    assert found["treadle_queue_oldest_seconds", {}] == 41.5
    assert [found["treadle_runs", {"status": status}] for status in ("New", "Running")] == [5, 3]
    assert found["treadle_kills_pending", {}] == 1
    assert found["treadle_workers_busy", {}] == 2


@pytest.mark.usefixtures("measuring")
async def test_figures_of_a_store_that_is_away_are_absent_and_not_old(monkeypatch: pytest.MonkeyPatch) -> None:
    is_away = False

    async def ask() -> Statistics:
        if is_away:
            raise ConnectionError("the store is closed")
        return HOUSE

    monkeypatch.setattr("treadle.telemetry.prometheus.STATISTICS_AGE_SECONDS", 0)
    telemetry.statistics_from(ask)
    assert "treadle_queue_depth" in await figures()
    is_away = True
    with capture_logs() as logged:
        found = await figures()
    assert found["treadle_store_up", {}] == 0
    assert "treadle_queue_depth" not in found
    assert found["treadle_leases_lost_total", {}] == 0
    assert logged[0]["reason"] == "the store is closed"


@pytest.mark.usefixtures("measuring")
async def test_a_store_that_hangs_holds_no_scrape_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.telemetry.prometheus.STATISTICS_SECONDS", 0.05)

    async def ask() -> Statistics:
        await asyncio.Event().wait()
        raise AssertionError

    telemetry.statistics_from(ask)
    assert (await figures())["treadle_store_up", {}] == 0


@pytest.mark.usefixtures("measuring")
async def test_many_scrapes_ask_the_store_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def ask() -> Statistics:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return HOUSE

    assert STATISTICS_AGE_SECONDS > 0
    monkeypatch.setattr("treadle.telemetry.prometheus.STATISTICS_AGE_SECONDS", 60)
    telemetry.statistics_from(ask)
    await asyncio.gather(*(figures() for _ in range(5)))
    assert asked == 1


async def test_leaving_takes_the_instruments_away() -> None:
    async with telemetry.installed():
        assert telemetry.is_measuring()
        telemetry.count(telemetry.LEASES_LOST)
    assert not telemetry.is_measuring()
    async with telemetry.installed():
        assert (await figures())["treadle_leases_lost_total", {}] == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: telemetry.count(telemetry.GIT_SECONDS, command="push"),
        lambda: telemetry.observe(telemetry.LEASES_LOST, 1.0),
    ],
)
@pytest.mark.usefixtures("measuring")
async def test_a_metric_of_another_kind_is_a_defect(call: Callable[[], None]) -> None:
    with pytest.raises(AssertionError):
        call()

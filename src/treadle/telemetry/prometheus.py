"""The figures, kept by prometheus_client in a registry of our own."""

import asyncio
from collections.abc import Callable, Iterator

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from treadle.ports import Statistics
from treadle.telemetry.ambient import AskStatistics, Value
from treadle.telemetry.metrics import (
    KILLS_PENDING,
    METRICS,
    QUEUE_BLOCKED,
    QUEUE_DEPTH,
    QUEUE_OLDEST_SECONDS,
    RUNS,
    STORE_UP,
    WORKERS_BUSY,
    Kind,
    Metric,
)

log = structlog.get_logger(__name__)

#: A database that takes longer to count counts as down for that scrape; seconds.
STATISTICS_SECONDS = 5.0

#: Statistics are asked for at most this often, in seconds: scraping must not load the database.
STATISTICS_AGE_SECONDS = 1.0


class PrometheusMeters:
    """ambient.Meters. Counters and histograms are there from the start, a gauge from when somebody has its value: a
    process that has no slots does not say that it has none free."""

    def __init__(self) -> None:
        # Else there is a second series beside each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # its annotations lack this one
        self._registry = CollectorRegistry(auto_describe=False)
        self._house: _House | None = None
        self._kept: dict[Metric, Counter | Histogram] = {}
        #: Looking a labelled figure up in the library costs as much as counting it.
        self._children: dict[tuple[str, ...], Counter | Histogram] = {}
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        for metric in METRICS:
            if metric.kind is not Kind.GAUGE:
                self._kept[metric] = self._make(metric)

    def count(self, metric: Metric, amount: float, labels: dict[str, Value]) -> None:
        child = self._child(metric, labels)
        assert isinstance(child, Counter)  # noqa: S101 - a call with the wrong metric is a defect here
        if amount > 0:  # what an engine says of itself may be anything, and is no reason to end a run
            child.inc(amount)

    def observe(self, metric: Metric, value: float, labels: dict[str, Value]) -> None:
        child = self._child(metric, labels)
        assert isinstance(child, Histogram)  # noqa: S101 - as above
        child.observe(value)

    def gauge(self, metric: Metric, read: Callable[[], float]) -> None:
        Gauge(metric.name, metric.help, registry=self._registry).set_function(read)

    def statistics_from(self, ask: AskStatistics) -> None:
        self._house = _House(ask)
        self._registry.register(self._house)

    async def exposition(self) -> bytes:
        if self._house is not None:
            await self._house.refresh()
        return await asyncio.to_thread(generate_latest, self._registry)

    def _child(self, metric: Metric, labels: dict[str, Value]) -> Counter | Histogram:
        if not metric.labels:
            return self._kept[metric]
        values = tuple([str(labels.get(name, "")) for name in metric.labels])
        key = (metric.name, *values)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._kept[metric].labels(*values)
        return child

    def _make(self, metric: Metric) -> Counter | Histogram:
        if metric.kind is Kind.HISTOGRAM:
            return Histogram(metric.name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets)
        counter = Counter(metric.name, metric.help, metric.labels, registry=self._registry)
        for value in metric.first:
            counter.labels(value)
        return counter


class _House(Collector):
    """What the database says of all, asked for when somebody scrapes. While it is away its figures are absent rather
    than old."""

    def __init__(self, ask: AskStatistics) -> None:
        self._ask = ask
        self._found: Statistics | None = None
        self._asked: float | None = None
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._asking:
            if self._asked is not None and loop.time() - self._asked < STATISTICS_AGE_SECONDS:
                return
            try:
                async with asyncio.timeout(STATISTICS_SECONDS):
                    self._found = await self._ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, the other figures are wanted all the same
                self._found = None
                log.warning("statistics_unavailable", reason=str(error) or type(error).__name__)
            self._asked = loop.time()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(STORE_UP.name, STORE_UP.help, value=float(self._found is not None))
        found = self._found
        if found is None:
            return
        for metric, value in (
            (QUEUE_DEPTH, found.new),
            (QUEUE_BLOCKED, found.blocked),
            (QUEUE_OLDEST_SECONDS, found.waiting_seconds),
            (KILLS_PENDING, found.kill_requested),
            (WORKERS_BUSY, len(found.by_worker)),
        ):
            yield GaugeMetricFamily(metric.name, metric.help, value=value)
        runs = GaugeMetricFamily(RUNS.name, RUNS.help, labels=RUNS.labels)
        runs.add_metric(["New"], found.new)
        runs.add_metric(["Running"], found.running)
        yield runs

"""Every metric: the one table that the registry is made from, and the documentation."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as Prometheus shows it. The values of a label are few and known to the code: never a run, an address or
    anything that a user wrote. `first`: values of the one label that are shown as 0 from the start, so that an alert
    sees the first one counted."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    first: tuple[str, ...] = ()


#: In seconds. What one machine does, what engines do, and what waits for a worker.
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_COMMANDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_ENGINES = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0)
_WAITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)

# ---- what the database says, the same from every process

STORE_UP = Metric("treadle_store_up", Kind.GAUGE, "Whether the database answered this scrape.")
QUEUE_DEPTH = Metric("treadle_queue_depth", Kind.GAUGE, "Runs that wait for a worker, blocked ones included.")
QUEUE_BLOCKED = Metric("treadle_queue_blocked", Kind.GAUGE, "Of these, runs that wait for their work branch.")
QUEUE_OLDEST_SECONDS = Metric(
    "treadle_queue_oldest_seconds", Kind.GAUGE, "Age of the oldest run that could begin and has no worker yet."
)
RUNS = Metric("treadle_runs", Kind.GAUGE, "Runs that are not over, by status.", ("status",))
KILLS_PENDING = Metric("treadle_kills_pending", Kind.GAUGE, "Runs asked to be killed that are still running.")
WORKERS_BUSY = Metric("treadle_workers_busy", Kind.GAUGE, "Workers that hold a run.")

# ---- what a worker says of itself

SLOTS_USED = Metric("treadle_slots_used", Kind.GAUGE, "Runs that this worker holds.")
SLOTS_FREE = Metric("treadle_slots_free", Kind.GAUGE, "Runs that it could take besides.")
PAUSED_FOR_DISK = Metric("treadle_paused_for_disk", Kind.GAUGE, "1 while it takes no run because its disk is full.")

CLAIMS = Metric("treadle_claims_total", Kind.COUNTER, "Runs taken by this worker, handed over and requeued ones too.")
CLAIM_WAIT_SECONDS = Metric(
    "treadle_claim_wait_seconds", Kind.HISTOGRAM, "From a run's creation to its first claim.", buckets=_WAITS
)
RUNS_FINISHED = Metric(
    "treadle_runs_finished_total",
    Kind.COUNTER,
    "Runs that this worker brought to their end.",
    ("status",),
    first=("Success", "Failed", "Killed"),
)
LEASES_LOST = Metric("treadle_leases_lost_total", Kind.COUNTER, "Runs that this worker lost to others while at work.")
SWEPT = Metric(
    "treadle_swept_runs_total",
    Kind.COUNTER,
    "Runs whose worker fell silent, by what became of them.",
    ("found",),
    first=("requeued", "failed", "killed"),
)
PREPARE_SECONDS = Metric(
    "treadle_workspace_prepare_seconds",
    Kind.HISTOGRAM,
    "Until a run's clone stood; warm: from a mirror that was there.",
    ("start", "outcome"),
    _COMMANDS,
)
PHASE_SECONDS = Metric(
    "treadle_phase_seconds",
    Kind.HISTOGRAM,
    "Phases, every try and the pauses between them included.",
    ("engine", "phase", "outcome"),
    _ENGINES,
)
RETRIES = Metric(
    "treadle_engine_retries_total",
    Kind.COUNTER,
    "Engine calls made again, by the code of the error.",
    ("engine", "reason"),
)
TOKENS = Metric("treadle_tokens_total", Kind.COUNTER, "Tokens, as the engines count them.", ("engine", "direction"))
COST = Metric("treadle_cost_dollars_total", Kind.COUNTER, "What they cost, as the engines say.", ("engine",))
GIT_SECONDS = Metric("treadle_git_command_seconds", Kind.HISTOGRAM, "Git commands.", ("command", "outcome"), _COMMANDS)

# ---- what any process says of itself

HTTP_SECONDS = Metric(
    "treadle_http_request_seconds",
    Kind.HISTOGRAM,
    "Requests, by the route's template; event streams until they begin.",
    ("route", "method", "status"),
    _FAST,
)
EVENT_LAG_SECONDS = Metric(
    "treadle_event_lag_seconds",
    Kind.HISTOGRAM,
    "From an event to its handing over to those who follow the run.",
    buckets=_FAST,
)
AUDIT_LOST = Metric(
    "treadle_audit_lost_total", Kind.COUNTER, "Entries of the audit log that could not be written; the log has them."
)
STORE_SECONDS = Metric(
    "treadle_store_call_seconds",
    Kind.HISTOGRAM,
    "Calls of the database, waiting for a connection included; glance: one short query.",
    ("kind", "outcome"),
    _FAST,
)

METRICS: tuple[Metric, ...] = tuple(value for value in vars().values() if isinstance(value, Metric))

OUTCOMES = ("ok", "error", "cancelled")

"""A database of schema 0001, and what processes of that version do with it: their statements, frozen."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import OperationalError

from tests.support.stores import NOW
from treadle.store import schema
from treadle.store.values import micros

GIT_URL = "https://git.example.org/group/project.git"

_CREATE = text(
    "INSERT INTO runs (uuid, organization_id, organization_uuid, user_id, user_uuid, git_url, branch_source,"
    " branch_work, file_ids, generate_diff, engine, status, lease, lost_workers, secrets_version, last_event, has_diff,"
    " date_created, date_updated) VALUES (:uuid, 1, :organization, 1, :user, :url, 'main', :branch, '[]', :off,"
    " 'Dummy', 'New', 0, 0, 0, 1, :off, :now, :now) RETURNING id"
)
_STEP = text(
    "INSERT INTO steps (run_id, position, uuid, text, is_commitable, is_structured, status, input_tokens,"
    " output_tokens, cost_usd, duration_ms) VALUES (:run, 1, :uuid, 'Add tests', :on, :off, 'NotStarted', 0, 0, 0, 0)"
)
_EVENT = text("INSERT INTO events (run_id, number, type, data, date) VALUES (:run, :number, :type, :data, :now)")
_CLAIM = text(
    "UPDATE runs SET status = 'Running', lease = lease + 1, worker = 'old', last_event = last_event + 1,"
    " date_started = coalesce(date_started, :now), date_updated = :now, date_runner_ping = :now WHERE id ="
    " (SELECT id FROM runs WHERE status = 'New' ORDER BY id LIMIT 1) AND status = 'New' RETURNING id, last_event"
)
_RECORD = text(
    "UPDATE runs SET last_event = last_event + 1, date_updated = :now WHERE id = :run AND lease = 1"
    " AND status = 'Running' RETURNING last_event"
)
_MOVE = text(
    "UPDATE runs SET status = :status, last_event = last_event + 1, date_updated = :now, date_completed = :completed"
    " WHERE id = :run AND (status = 'New' OR status = 'Running') RETURNING last_event"
)


#: How long a test may wait for a process of that version.
PATIENCE_SECONDS = 120.0


class FirstVersion:
    """A process of that version."""

    def __init__(self, url: str) -> None:
        self._engine = engine_of(url)

    def owners(self) -> tuple[str, str]:
        """The UUIDs of an organization and a user, who has a role."""
        uuids = str(uuid4()), str(uuid4())
        with self._engine.begin() as connection:
            given = {"now": micros(NOW), "organization": uuids[0], "user": uuids[1]}
            for statement in (
                "INSERT INTO organizations (uuid, name, date_created) VALUES (:organization, 'Example', :now)",
                "INSERT INTO users (uuid, email, email_folded, name, date_created) VALUES (:user, 'a@b', 'a@b', '', 0)",
                "INSERT INTO memberships (organization_id, user_id, role) VALUES (1, 1, 'ADMIN')",
            ):
                connection.execute(text(statement), given)
        return uuids

    def create(self, branch: str, *, url: str = GIT_URL) -> int:
        with self._engine.begin() as connection:
            (owners,) = connection.execute(
                text("SELECT organizations.uuid, users.uuid FROM organizations, users")
            ).all()
            run_id: int = connection.execute(
                _CREATE,
                {
                    "uuid": str(uuid4()),
                    "organization": owners[0],
                    "user": owners[1],
                    "url": url,
                    "branch": branch,
                    "off": False,
                    "now": micros(NOW),
                },
            ).scalar_one()
            connection.execute(_STEP, {"run": run_id, "uuid": str(uuid4()), "on": True, "off": False})
            self._tell(connection, run_id, 1, "run.created")
        return run_id

    def claim(self) -> int:
        """The oldest new run."""
        with self._engine.begin() as connection:
            run_id, last = connection.execute(_CLAIM, {"now": micros(NOW)}).one()
            self._tell(connection, run_id, last, "run.started")
        return int(run_id)

    def record(self, run_id: int) -> int:
        with self._engine.begin() as connection:
            last: int = connection.execute(_RECORD, {"run": run_id, "now": micros(NOW)}).scalar_one()
            self._tell(connection, run_id, last, "engine.text", '{"text":"x"}')
        return last

    def move(self, run_id: int, status: str) -> None:
        completed = None if status == "New" else micros(NOW)
        kind = "run.requeued" if status == "New" else "run.finished"
        with self._engine.begin() as connection:
            last = connection.execute(
                _MOVE, {"run": run_id, "status": status, "now": micros(NOW), "completed": completed}
            ).scalar_one()
            self._tell(connection, run_id, last, kind)

    def _tell(self, connection: Connection, run_id: int, number: int, kind: str, data: str = "{}") -> None:
        connection.execute(_EVENT, {"run": run_id, "number": number, "type": kind, "data": data, "now": micros(NOW)})


class Busy:
    """A process of that version that writes to a run all the time. PostgreSQL may give one of its writes up for the
    upgrade's sake: it writes again."""

    def __init__(self, url: str, run_id: int) -> None:
        self.first = 0
        self.last = 0
        self._process = FirstVersion(url)
        self._run_id = run_id
        self._over = threading.Event()
        self._begun, self._went_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        self._thread.start()
        assert self._begun.wait(PATIENCE_SECONDS)
        try:
            yield
            assert self._went_on.wait(PATIENCE_SECONDS)
        finally:
            self._over.set()
            self._thread.join(PATIENCE_SECONDS)

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                self.last = self._process.record(self._run_id)
            except OperationalError:
                continue
            self.first = self.first or self.last
            (self._went_on if self._begun.is_set() else self._begun).set()


def first_schema(url: str) -> FirstVersion:
    """Makes the database, with an organization and its admin."""
    with engine_of(url).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    process = FirstVersion(url)
    process.owners()
    return process


def engine_of(url: str) -> Engine:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    """As that version did: transactions that begin with their lock, and WAL."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")

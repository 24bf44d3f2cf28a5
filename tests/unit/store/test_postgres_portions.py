"""What goes in portions goes in portions on PostgreSQL, and is looked for once, even by a plan that was made while next
to nothing was in the table: a loop over every row seemed the shortest way then, and a connection keeps its plans."""

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.support.postgres import PostgresServer

from treadle.store import connections, deliveries, local_sessions, page_sessions, rates, webhooks, worker_reports
from treadle.store.prepared import Prepared

pytestmark = pytest.mark.postgres

#: Statement, how many rows it is for, and what makes a row for each `n`.
STATEMENTS: dict[str, tuple[Prepared, int, str]] = {
    "names that nobody asks under": (
        rates._FORGET,
        rates.PORTION,
        "INSERT INTO rates (name, passed, date_expires) SELECT 'r' || n, '[]', 0 FROM {rows}",
    ),
    "silent workers": (
        worker_reports.FORGET_SILENT,
        worker_reports.PORTION,
        (
            "INSERT INTO workers (name, version, sandbox, slots, is_paused, date_started, date_seen)"
            " SELECT 'w' || n, '1', 'none', 1, false, 0, 0 FROM {rows}"
        ),
    ),
    "sessions that ended": (
        page_sessions.FORGET,
        page_sessions.PORTION,
        (
            "INSERT INTO page_sessions (digest, organization_id, user_id, agent, date_created, date_seen, date_expires)"
            " SELECT 'd' || n, 1, 1, '', 0, 0, 0 FROM {rows}"
        ),
    ),
    "expired connect tokens": (
        connections._FORGET,
        connections.PORTION,
        (
            "INSERT INTO connect_tokens (digest, organization_id, user_id, date_expires)"
            " SELECT 'd' || n, 1, 1, 0 FROM {rows}"
        ),
    ),
    "messages that died": (
        webhooks._RESEND_DEAD,
        webhooks.PORTION,
        (
            "INSERT INTO messages"
            " (uuid, webhook_id, lane, type, data, status, tries, date_created, date_queued, date_next)"
            " SELECT 'd' || n, 1, 'l' || n, 't', '', 'Dead', 1, 0, 0, 0 FROM {rows}"
        ),
    ),
    "messages that are done": (
        webhooks._PRUNE,
        100,
        (
            "INSERT INTO messages"
            " (uuid, webhook_id, lane, type, data, status, tries, date_created, date_queued, date_next, date_done)"
            " SELECT 'd' || n, 1, 'l' || n, 't', '', 'Delivered', 1, 0, 0, 0, 0 FROM {rows}"
        ),
    ),
    "deliveries": (
        deliveries._PRUNE,
        deliveries.PORTION,
        (
            "INSERT INTO deliveries (hook_id, delivery, event, headers, body, status, date_received)"
            " SELECT 1, 'd' || n, 'e', '', '', 'DONE', 0 FROM {rows}"
        ),
    ),
    "the log of a local session": (
        local_sessions._REMOVE_LOGS,
        local_sessions.PORTION,
        "INSERT INTO local_session_logs (local_session, number, data, date) SELECT 1, n, '', 0 FROM {rows}",
    ),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_portion_is_found_once_and_no_more_goes(postgres_server: PostgresServer, name: str) -> None:
    statement, portion, fill = STATEMENTS[name]
    with psycopg.connect(postgres_server.upgraded(), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # what the rows hang on need not be there
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(fill.format(rows="generate_series(1, 1) n").encode())
        connection.execute("ANALYZE")
        given = _prepare(connection, statement, limit=portion)
        connection.execute(b"EXPLAIN EXECUTE asked (%b)" % given)
        connection.execute(fill.format(rows=f"generate_series(2, {3 * portion}) n").encode())

        [[[found]]] = connection.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked (%b)" % given).fetchall()

    limits = [node for node in _nodes(found["Plan"]) if node["Node Type"] == "Limit"]
    assert [(node["Actual Loops"], node["Actual Rows"]) for node in limits] == [(1, portion)], json.dumps(found)
    # Of a change without RETURNING no rows come out: those that it gets are those that go.
    changed = found["Plan"]["Plans"][-1]
    assert changed["Actual Rows"] * changed["Actual Loops"] == portion, json.dumps(found)


def _prepare(connection: psycopg.Connection, statement: Prepared, *, limit: int) -> bytes:
    """As `asked`; what to execute it with."""
    text, constants = statement.postgres
    values = {"limit": limit, **constants}
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text.decode())))
    numbered = re.sub(r"%\((\w+)\)s", lambda name: f"${names.index(name[1]) + 1}", text.decode())
    connection.execute(f"PREPARE asked AS {numbered}".encode())
    return ", ".join(str(values.get(name, 1)) for name in names).encode()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for one in plan.get("Plans", []):
        yield from _nodes(one)

"""How PostgreSQL finds what the page asks of runs, among a hundred thousand that have ended and twenty thousand that
wait, once it has counted the tables."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from tests.support.postgres import PostgresServer
from tests.support.stores import a_draft, open_world
from tests.unit.store.test_postgres_plans import fill, plan

from treadle.domain.states import RunStatus
from treadle.ports.page import UsageBy
from treadle.store import run_search, usage
from treadle.store.prepared import Prepared

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

_SEVERAL = frozenset({RunStatus.NEW, RunStatus.SUCCESS})

#: Statement, and the indexes that it has to use.
PLANS: dict[str, tuple[Prepared, tuple[str, ...]]] = {
    "a page": (run_search.newest_statement(_SEVERAL, is_of_user=False), ("runs_by_organization",)),
    "a user's page": (run_search.newest_statement(_SEVERAL, is_of_user=True), ("runs_by_user",)),
    "a search": (
        run_search.look_statement(_SEVERAL, 2, is_of_user=False, has_repository=True, has_source=True),
        ("runs_by_organization", "runs_pkey"),
    ),
    "what has just ended": (run_search.CHANGED, ("runs_ended",)),
    "what was used": (usage.statement(UsageBy.DAY, is_of_user=False), ("runs_by_date",)),
    "what a user's runs used": (usage.statement(UsageBy.REPOSITORY, is_of_user=True), ("runs_by_date",)),
    "what each run used": (usage.statement_of_each(UsageBy.RUN, is_of_user=False), ("runs_by_date",)),
}


@pytest.fixture
async def connection(postgres_server: PostgresServer, anyio_backend: str) -> AsyncIterator[psycopg.Connection]:
    url = postgres_server.upgraded()
    async with open_world(url) as world:
        run = await world.run(a_draft("one"))
        with psycopg.connect(url, autocommit=True) as connection:
            fill(connection, run.id)
            connection.execute(b"UPDATE runs SET date_created = id * 1000000, date_completed = date_completed * id")
            connection.execute("VACUUM ANALYZE")
            # The plan that many executions share: made without looking at what is asked for.
            connection.execute("SET plan_cache_mode = force_generic_plan")
            yield connection


async def test_the_page_reads_no_more_of_runs_than_it_shows(connection: psycopg.Connection) -> None:
    for name, (statement, indexes) in PLANS.items():
        found = plan(connection, statement)
        assert all(index in found for index in indexes), (name, found)
        assert "Seq Scan on runs" not in found, (name, found)

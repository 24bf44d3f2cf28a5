"""How PostgreSQL finds what claims ask for, among a hundred thousand runs that have ended, ten thousand in the queue
and ten thousand that wait for one branch: by the right index, whenever it counted the tables last, and whether those
that have ended were on one branch or on one each."""

import re
from collections.abc import AsyncIterator

import psycopg
import pytest
from tests.support.postgres import PostgresServer
from tests.support.stores import a_draft, open_world

from treadle.store import branches, claims, sweep, threads
from treadle.store.prepared import Prepared

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

#: Statement, and the one index of runs that it may use to look for them.
PLANS: dict[str, tuple[Prepared, str]] = {
    "an organization's oldest": (claims.CLAIM_OLDEST, "runs_claimable"),
    "what waits": (sweep._WAITING, "runs_claimable"),
    "who waits for a branch": (branches._NEXT, "runs_blocked"),
    "whom a branch's checks wake": (threads.ON_BRANCH, "runs_by_branch"),
}

_COPY = """
    INSERT INTO runs (uuid, status, date_completed, holds_branch, branch_key, {others})
    SELECT gen_random_uuid()::text, '{status}', {completed}, {holds}, {key}, {others}
    FROM runs, generate_series(1, {count}) WHERE id = {id}
"""


@pytest.fixture(params=["never", "early", "late", "scattered"])
async def connection(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, anyio_backend: str
) -> AsyncIterator[psycopg.Connection]:
    url = postgres_server.upgraded()
    async with open_world(url) as world:
        run = await world.run(a_draft("one"))
        with psycopg.connect(url, autocommit=True) as connection:
            if request.param == "early":
                connection.execute("ANALYZE")
            is_scattered = request.param == "scattered"
            fill(connection, run.id, ended_on="gen_random_uuid()::text" if is_scattered else "branch_key")
            if request.param == "late" or is_scattered:
                connection.execute("ANALYZE")
            # The plan that many executions share: made without looking at what is asked for.
            connection.execute("SET plan_cache_mode = force_generic_plan")
            yield connection


def fill(connection: psycopg.Connection, run_id: int, *, ended_on: str = "branch_key") -> None:
    rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'runs'").fetchall()
    set_here = {"id", "uuid", "status", "date_completed", "holds_branch", "branch_key"}
    others = ", ".join(sorted({row[0] for row in rows} - set_here))
    for status, completed, holds, key, count in (
        ("Success", "1", "true", ended_on, 100_000),
        ("New", "null", "true", "gen_random_uuid()::text", 10_000),
        ("New", "null", "false", "branch_key", 10_000),
    ):
        connection.execute(
            _COPY.format(
                others=others, status=status, completed=completed, holds=holds, key=key, count=count, id=run_id
            ).encode()
        )


def plan(connection: psycopg.Connection, statement: Prepared) -> str:
    text, constants = statement.postgres
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    numbered = re.sub(r"%\((\w+)\)s", number, text.decode())
    given = ", ".join(str(constants.get(name, 1)) for name in names)
    connection.execute(f"PREPARE asked AS {numbered}".encode())
    try:
        rows = connection.execute(f"EXPLAIN EXECUTE asked ({given})".encode(), prepare=False).fetchall()
    finally:
        connection.execute("DEALLOCATE asked")
    return "\n".join(row[0] for row in rows)


async def test_claims_read_their_own_index_and_none_that_is_longer(connection: psycopg.Connection) -> None:
    for statement, index in PLANS.values():
        found = plan(connection, statement)
        assert f"using {index} " in found, found
        looked = [line for line in found.splitlines() if " on runs" in line and "Update" not in line]
        # The run that was found is then fetched by its id, whichever index has it.
        others = [line for line in looked if index not in line]
        assert all("rows=1 " in line for line in others), found
        assert "Seq Scan" not in found
    candidates = plan(connection, claims.CANDIDATES)
    assert not re.findall(r"Seq Scan on runs|using runs_new |using runs_pkey ", candidates), candidates

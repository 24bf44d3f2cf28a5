"""How PostgreSQL finds what is kept around runs, among many organizations' of it: by the right index, whether
it counted the tables while they were small or as they are."""

import re
from collections.abc import AsyncIterator

import psycopg
import pytest
from tests.support.directory import a_pull_request, a_repository, working
from tests.support.postgres import PostgresServer
from tests.support.stores import NOW, open_world
from tests.unit.store.test_postgres_plans import plan

from treadle.store import bans, keys, members, pull_requests, repositories, sandboxes, threads
from treadle.store.prepared import Prepared

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

#: Statement, and the indexes that it has to use.
PLANS: dict[str, tuple[Prepared, tuple[str, ...]]] = {
    "a user's organizations": (members.ORGANIZATIONS_OF, ("memberships_user_id",)),
    "a page of members": (members.MEMBERS, ("memberships_pkey",)),
    "how many members there are": (members.COUNT, ("memberships_pkey",)),
    "one member": (members.MEMBER, ("memberships_",)),  # by either
    "a user in an organization": (keys._BY_IDS, ("memberships_",)),
    "a page of repositories": (repositories.PAGE, ("repositories_by_organization",)),
    "the newest sandboxes": (sandboxes.NEWEST, ("sandboxes_by_repository",)),
    "the pull requests of some runs": (pull_requests.of_runs(16), ("pull_request_runs_pkey", "pull_requests_pkey")),
    "whether runs made any of these branches": (threads.on_any(256), ("runs_by_branch",)),
    "whether a branch is flagged": (bans._IS_BANNED, ("banned_branches_pkey",)),
}

#: Tables that are read faster whole.
FEW = {"organizations", "users"}

#: Two hundred organizations with a hundred repositories and members each, and what a year of runs leaves of one.
_FILL = """
    INSERT INTO organizations (uuid, name, date_created)
    SELECT gen_random_uuid()::text, 'x', 1 FROM generate_series(1, 200);
    INSERT INTO users (uuid, email, email_folded, name, date_created)
    SELECT gen_random_uuid()::text, 'x', 'x' || n, 'x', 1 FROM generate_series(1, 2000) n;
    INSERT INTO memberships (organization_id, user_id, role)
    SELECT organizations.id, users.id, 'MEMBER' FROM organizations, users
    WHERE users.id % 20 = organizations.id % 20 AND users.id > 1;
    INSERT INTO repositories (uuid, organization_id, name, url, default_branch, date_created)
    SELECT gen_random_uuid()::text, organizations.id, 'n' || n, 'u' || n, 'main', 1
    FROM generate_series(1, 100) n, organizations ORDER BY n;
    INSERT INTO runs (uuid, branch_work, branch_key, status, date_completed, holds_branch, organization_id, {others})
    SELECT gen_random_uuid()::text, 'b' || n, 'k' || n, 'Success', 1, true, organization_id, {others}
    FROM runs, generate_series(1, 50000) n WHERE id = {run};
    INSERT INTO runs (uuid, branch_work, branch_key, status, date_completed, holds_branch, organization_id, {others})
    SELECT gen_random_uuid()::text, 'b' || n, 'k' || n, 'New', null, n % 2 = 0, 1 + n % 100, {others}
    FROM runs, generate_series(1, 10000) n WHERE id = {run};
    INSERT INTO sandboxes (organization_id, repository_id, run_id, digest, status, date_created)
    SELECT 1, 1 + n % 1000, {run} + n, 'd', 'READY', 1 FROM generate_series(1, 50000) n;
    INSERT INTO pull_requests
    (organization_id, repository_id, run_id, number, title, url, state, head_branch, date_created, date_updated)
    SELECT 1, 1 + n % 1000, {run} + n, n, 't', 'u', 'open', 'b', 1, 1 FROM generate_series(1, 50000) n;
    INSERT INTO pull_request_runs (run_id, pull_request_id)
    SELECT run_id, id FROM pull_requests ON CONFLICT DO NOTHING;
    INSERT INTO banned_branches (branch, organization_id, run_id, user_id, date_created)
    SELECT 'k' || n, 1, {run}, 1, 1 FROM generate_series(1, 20000) n;
"""


@pytest.fixture(params=["early", "late"])
async def connection(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, anyio_backend: str
) -> AsyncIterator[psycopg.Connection]:
    url = postgres_server.upgraded()
    async with open_world(url) as world:
        repository = await world.store.add_repository(a_repository(1), {})
        run, fence = await working(world, repository.id)
        await world.store.put_pull_request(fence, a_pull_request(run, repository.id, 99_999), NOW)
        with psycopg.connect(url, autocommit=True) as connection:
            if request.param == "early":
                connection.execute("ANALYZE")
            fill(connection, run.id)
            if request.param == "late":
                connection.execute("ANALYZE")
            # The plan that many executions share: made without looking at what is asked for.
            connection.execute("SET plan_cache_mode = force_generic_plan")
            yield connection


def fill(connection: psycopg.Connection, run_id: int) -> None:
    rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'runs'").fetchall()
    set_here = {
        "id",
        "uuid",
        "branch_work",
        "branch_key",
        "status",
        "date_completed",
        "holds_branch",
        "organization_id",
    }
    others = ", ".join(sorted({row[0] for row in rows} - set_here))
    connection.execute(_FILL.format(others=others, run=run_id).encode())


async def test_what_is_around_runs_is_found_by_its_index(connection: psycopg.Connection) -> None:
    for name, (statement, indexes) in PLANS.items():
        found = plan(connection, statement)
        for index in indexes:
            assert index in found, f"{name}\n{found}"
        read_whole = set(re.findall(r"Seq Scan on (\w+)", found))
        assert read_whole <= FEW, f"{name}\n{found}"


async def test_who_works_on_a_branch_is_looked_for_among_the_living(connection: psycopg.Connection) -> None:
    found = plan(connection, bans.LIVING)
    used = re.findall(r"(?:using|Bitmap Index Scan on) (\w+)(?: on .*)?\n +(?:Index Cond: (.*))?", found)
    assert len(used) == 3, found
    for index, condition in used:
        is_of_status = index == "runs_by_organization" and "status = 'Running'" in condition
        assert is_of_status or index in {"runs_new", "runs_blocked", "runs_claimable", "runs_running"}, found

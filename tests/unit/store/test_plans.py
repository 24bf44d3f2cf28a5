"""What is asked often is found by an index, however large the tables are: SQLite tells how it would look."""

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from itertools import chain, combinations
from pathlib import Path

import pytest
from tests.support.stores import World, a_draft, open_world

from treadle.domain.states import RunStatus
from treadle.ports.page import UsageBy
from treadle.store import (
    bans,
    branches,
    claims,
    connections,
    events,
    figures,
    files,
    keys,
    leases,
    local_sessions,
    members,
    oauth,
    outbox,
    page_sessions,
    pull_requests,
    rates,
    repositories,
    run_data,
    run_list,
    run_rows,
    run_search,
    sandboxes,
    secrets,
    share_links,
    sweep,
    threads,
    transitions,
    usage,
    webhooks,
    worker_reports,
)
from treadle.store.address import sqlite_url
from treadle.store.prepared import Prepared
from treadle.store.sqlite import SqliteExecutor

pytestmark = pytest.mark.anyio

#: Statement, and the indexes of which it needs (of `sqlite_autoindex_…` SQLite makes the primary and unique keys).
PLANS: dict[str, tuple[Prepared, str]] = {
    "a run by its UUID": (run_rows.BY_UUID, "sqlite_autoindex_runs_1"),
    "a run by its id": (run_rows.BY_ID, "INTEGER PRIMARY KEY"),
    "which organization's turn it is": (claims.CANDIDATES, "runs_claimable"),
    "the oldest runs of each organization": (claims.FRONTS, "runs_claimable"),
    "the oldest new run of an organization": (claims.CLAIM_OLDEST, "runs_claimable"),
    "one new run": (claims.CLAIM_ONE, "INTEGER PRIMARY KEY"),
    "how many an organization has running": (claims.RUNNING, "runs_by_organization"),
    "who waits for a branch": (branches._NEXT, "runs_blocked"),
    "whom a branch's checks wake": (threads.ON_BRANCH, "runs_by_branch"),
    "whether runs made any of these branches": (threads.on_any(256), "runs_by_branch"),
    "who wants to know of a run": (outbox._OF_RUN, "webhooks_by_organization"),
    "who wants to know of a batch": (outbox._OF_ORGANIZATION, "webhooks_by_organization"),
    "whether a webhook is to be looked at": (outbox._IS_DUE, "sqlite_autoindex_chores_1"),
    "what a webhook is to be told": (webhooks.DUE, "messages_by_"),
    "a webhook's messages": (webhooks.LIST, "messages_by_"),
    "a webhook's dead messages": (webhooks.LIST_STATUS, "messages_by_webhook"),
    "a ping": (leases._PING, "INTEGER PRIMARY KEY"),
    "a record": (leases._RECORD, "INTEGER PRIMARY KEY"),
    "where a run stands": (transitions._STANDING, "INTEGER PRIMARY KEY"),
    "the running step": (transitions._FAIL_RUNNING_STEP, "sqlite_autoindex_steps"),
    "what is late": (sweep._LATE, "runs_running"),
    "what waits": (sweep._WAITING, "runs_claimable"),
    "old idempotency keys": (sweep._OLD_KEY, "idempotency_keys_date_created"),
    "the depth of the queue": (run_list.QUEUE_DEPTH, "runs_new"),
    "how many may be claimed": (figures.CLAIMABLE, "runs_claimable"),
    "how many each worker has": (figures.BY_WORKER, "runs_running"),
    "events": (events._AFTER, "sqlite_autoindex_events"),
    "secrets": (secrets._BY_OWNER, "sqlite_autoindex_secrets"),
    "artifacts": (run_data._ARTIFACTS, "sqlite_autoindex_artifacts"),
    "who a key speaks for": (keys._BY_KEY, "sqlite_autoindex_api_keys"),
    "an organization's files": (files._ALL, "files_by_organization"),
    "a user's files": (files._OF_USER, "files_by_user"),
    "runs that use a file": (files._IS_IN_USE, "sqlite_autoindex_run_files"),
    "a user in an organization": (keys._BY_IDS, "sqlite_autoindex_memberships"),
    "a user's organizations": (members.ORGANIZATIONS_OF, "memberships_user_id"),
    "a page of members": (members.MEMBERS, "sqlite_autoindex_memberships"),
    "how many members there are": (members.COUNT, "sqlite_autoindex_memberships"),
    "a page of repositories": (repositories.PAGE, "repositories_by_organization"),
    "how many repositories there are": (repositories.COUNT, "repositories_by_organization"),
    "the newest sandboxes": (sandboxes.NEWEST, "sandboxes_by_repository"),
    "the pull requests of runs": (pull_requests.of_runs(128), "sqlite_autoindex_pull_request_runs"),
    "whether a branch is flagged": (bans._IS_BANNED, "sqlite_autoindex_banned_branches"),
    "what passed under a name": (rates._FOUND, "sqlite_autoindex_rates"),
    "names that nobody asks under": (rates._FORGET, "rates_date_expires"),
    "an organization's local sessions": (local_sessions.ALL, "local_sessions_by_organization"),
    "how many local sessions there are": (local_sessions.COUNT, "local_sessions_by_"),
    "a user's local sessions": (local_sessions.OF_USER, "local_sessions_by_user"),
    "a local session by its name": (local_sessions._BY_NAME, "sqlite_autoindex_local_sessions"),
    "a local session's log": (local_sessions.FORWARD, "sqlite_autoindex_local_session_logs"),
    "a local session's log from its end": (local_sessions.BACKWARD, "sqlite_autoindex_local_session_logs"),
    "expired connect tokens": (connections._FORGET, "connect_tokens_date_expires"),
    "the tokens of a user": (oauth._CONNECTED_BY_USER, "oauth_tokens_by_user"),
    "who waits for a branch that is flagged": (bans.LIVING, "runs_blocked"),
    "who may have a branch that is flagged": (bans.LIVING, "runs_claimable"),
    "a page's session": (page_sessions.BY_DIGEST, "sqlite_autoindex_page_sessions"),
    "a user's sessions at the page": (page_sessions.OF_USER, "page_sessions_by_user"),
    "what revokes all of them": (page_sessions.REVOKE_ALL, "page_sessions_by_user"),
    "sessions that ended": (page_sessions.FORGET, "page_sessions_date_expires"),
    "a password": (page_sessions.PASSWORD, "sqlite_autoindex_users"),
    "a user as another service knows it": (page_sessions.IDENTITY, "sqlite_autoindex_identities"),
    "a link": (share_links.BY_DIGEST, "sqlite_autoindex_share_links"),
    "the links to a run": (share_links.OF_RUN, "share_links_run_id"),
    "how many runs there are by status": (run_search.COUNTS, "COVERING INDEX runs_by_organization"),
    "how many of a user's": (run_search.COUNTS_OF_USER, "COVERING INDEX runs_by_user"),
    "what has just ended": (run_search.CHANGED, "runs_ended"),
    "what of a user's is alive": (run_search.CHANGED_OF_USER, "runs_by_user"),
    "what was used by day": (usage.statement(UsageBy.DAY, is_of_user=False), "runs_by_date"),
    "what a user's runs used": (usage.statement(UsageBy.REPOSITORY, is_of_user=True), "runs_by_date"),
    "what each run used": (usage.statement_of_each(UsageBy.RUN, is_of_user=False), "runs_by_date"),
    "what each step used": (usage.statement_of_each(UsageBy.STEP, is_of_user=True), "runs_by_date"),
    "the workers that are there": (worker_reports.SEEN, "workers_date_seen"),
    "silent workers": (worker_reports.FORGET_SILENT, "workers_date_seen"),
}


class Anything(dict[str, object]):
    """A value for every parameter: plans do not depend on them."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> object:
        return 1


def statuses() -> Iterator[frozenset[RunStatus]]:
    every = sorted(RunStatus)
    return map(frozenset, chain.from_iterable(combinations(every, size) for size in range(1, len(every) + 1)))


@pytest.fixture
async def world(sqlite_template: Path, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    async with open_world(sqlite_url(shutil.copyfile(sqlite_template, tmp_path / "treadle.db"))) as made:
        yield made


async def plan(world: World, statement: Prepared) -> str:
    executor = world.store._executor
    assert isinstance(executor, SqliteExecutor)
    text, arrange = statement.sqlite
    rows = executor.writer.execute(f"EXPLAIN QUERY PLAN {text}", arrange(Anything())).fetchall()
    return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize("name", PLANS)
async def test_it_is_found_by_an_index(world: World, name: str) -> None:
    statement, index = PLANS[name]
    found = await plan(world, statement)
    assert index in found
    assert_no_scan(found, but=index)


@pytest.mark.parametrize(("is_of_user", "index"), [(True, "runs_by_user"), (False, "runs_by_organization")])
async def test_every_list_reads_the_newest_end_of_its_indexes(world: World, is_of_user: bool, index: str) -> None:
    for wanted in statuses():
        found = await plan(world, run_list.page_statement(wanted, is_of_user=is_of_user))
        assert found.count(f"USING COVERING INDEX {index}") == len(wanted)
        assert_no_scan(found, but=index)


@pytest.mark.parametrize(("is_of_user", "index"), [(True, "runs_by_user"), (False, "runs_by_organization")])
async def test_a_search_looks_at_the_newest_end_of_the_same(world: World, is_of_user: bool, index: str) -> None:
    for wanted in statuses():
        look = run_search.look_statement(wanted, 2, is_of_user=is_of_user, has_repository=True, has_source=True)
        for statement in (look, run_search.newest_statement(wanted, is_of_user=is_of_user)):
            found = await plan(world, statement)
            assert found.count(f"USING COVERING INDEX {index}") == len(wanted)
            assert_no_scan(found, but=index)


async def test_a_page_is_read_in_the_order_of_its_index(world: World) -> None:
    for name in ("a page of members", "a page of repositories", "the newest sandboxes", "the pull requests of runs"):
        assert "TEMP B-TREE" not in await plan(world, PLANS[name][0]), name


async def test_a_page_is_two_statements_however_many_runs_it_has(world: World) -> None:
    executor = world.store._executor
    assert isinstance(executor, SqliteExecutor)
    counts = []
    for _ in range(3):
        for _ in range(7):
            await world.run(a_draft("one", "two", "three"))
        seen: list[str] = []
        for connection in executor._readers:
            connection.set_trace_callback(seen.append)
        runs = await world.store.list_runs(world.mine, limit=1000)
        counts.append((len(runs), len([one for one in seen if one.lstrip().startswith("SELECT")])))
    assert counts == [(7, 2), (14, 2), (21, 2)]


#: Names in plans of what is no table: rows that were found, or made.
FOUND = ("anon_", "CONSTANT ROW", "waiting", "found", "seen", "claimable", "ended")
#: Indexes that hold a few runs: those that are alive.
OF_THE_LIVING = {"runs_new", "runs_running", "runs_claimable"}


def assert_no_scan(found: str, *, but: str) -> None:
    """No table is read whole, but for an index of the few runs that are alive."""
    for scanned in re.findall(r"SCAN (.*)", found):
        assert scanned.startswith(FOUND) or (scanned.endswith(but) and but in OF_THE_LIVING), found

"""`SqlStore`: the store's port on SQLite or PostgreSQL."""

import asyncio

from sqlalchemy import column, select, table

from treadle.store import schema
from treadle.store.address import SqliteAddress, parse
from treadle.store.audit import Audit
from treadle.store.automation_retention import AutomationRetention
from treadle.store.bans import Bans
from treadle.store.batch_advances import BatchAdvances
from treadle.store.batches import Batches
from treadle.store.chores import Chores
from treadle.store.claims import Claims
from treadle.store.connections import Connections
from treadle.store.costs import Costs
from treadle.store.deliveries import Deliveries
from treadle.store.environment import Environments
from treadle.store.events import Events
from treadle.store.figures import Figures
from treadle.store.files import Files
from treadle.store.first_admin import FirstAdmin
from treadle.store.keys import Keys
from treadle.store.leases import Leases
from treadle.store.local_sessions import LocalSessions
from treadle.store.measured import measured
from treadle.store.members import Members
from treadle.store.oauth import OAuth
from treadle.store.organizations import Organizations
from treadle.store.page_sessions import PageSessions
from treadle.store.prepared import Prepared
from treadle.store.pull_requests import PullRequests
from treadle.store.rates import Rates
from treadle.store.renewals import Renewals
from treadle.store.repositories import Repositories
from treadle.store.resuming import Resuming
from treadle.store.retention import Retention
from treadle.store.run_creation import RunCreation
from treadle.store.run_data import RunData
from treadle.store.run_log import RunLog
from treadle.store.run_search import RunSearches
from treadle.store.run_trace import RunTraces
from treadle.store.runs import Runs
from treadle.store.sandboxes import Sandboxes
from treadle.store.schedules import Schedules
from treadle.store.script_runs import ScriptRuns
from treadle.store.scripts import Scripts
from treadle.store.sealed import Sealed
from treadle.store.session import Executor
from treadle.store.share_links import ShareLinks
from treadle.store.sqlite import SqliteExecutor
from treadle.store.sweep import Sweeps
from treadle.store.threads import Threads
from treadle.store.triggers import Triggers
from treadle.store.usage import UsageFigures
from treadle.store.webhooks import Webhooks
from treadle.store.worker_reports import WorkerReports

_REVISION = Prepared(
    select(
        column("version_num"), select(column("oldest")).select_from(table("schema_compatibility")).scalar_subquery()
    ).select_from(table("alembic_version"))
)


class SqlStore(
    RunCreation,
    Resuming,
    Runs,
    RunLog,
    Claims,
    Leases,
    Sweeps,
    RunData,
    Events,
    Figures,
    Files,
    Organizations,
    FirstAdmin,
    Keys,
    Members,
    Repositories,
    Sandboxes,
    PullRequests,
    Bans,
    Rates,
    LocalSessions,
    Connections,
    OAuth,
    Retention,
    AutomationRetention,
    PageSessions,
    ShareLinks,
    RunSearches,
    RunTraces,
    UsageFigures,
    WorkerReports,
    Costs,
    Audit,
    Sealed,
    Environments,
    Chores,
    Batches,
    BatchAdvances,
    Triggers,
    Deliveries,
    Threads,
    Webhooks,
    Schedules,
    Scripts,
    ScriptRuns,
    Renewals,
):
    """Everything Treadle remembers, in one database. `open` makes one."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(executor)

    @classmethod
    async def open(cls, database_url: str, *, upgrade: bool = True, connections: int = 10) -> "SqlStore":
        """`sqlite:////path` or `postgresql://…`, of which it uses so many `connections` at most, two or more. A
        database that is empty or older is brought up to date first, unless `upgrade` is False. Unavailable when the
        server does not answer: wait and try again. ConfigurationError for what has to be mended first."""
        return cls(measured(await asyncio.to_thread(_executor, database_url, upgrade=upgrade, connections=connections)))

    async def check(self) -> None:
        row = await self._executor.glance(lambda session: session.one(_REVISION))
        found, oldest = (None, None) if row is None else row
        if not schema.suits(found, oldest):
            raise schema.outdated(found)

    async def close(self) -> None:
        """After what was submitted is written."""
        await self._executor.close()


def _executor(database_url: str, *, upgrade: bool, connections: int) -> Executor:
    address = parse(database_url)
    if upgrade:
        schema.upgrade(database_url)
    else:
        schema.require(database_url)
    if isinstance(address, SqliteAddress):
        return SqliteExecutor(address.path, busy_seconds=address.timeout)
    # Only here: psycopg is an extra, and schema.upgrade has said so if it is missing.
    from treadle.store.postgres import PostgresExecutor  # noqa: PLC0415

    return PostgresExecutor(address.url, connections=connections)

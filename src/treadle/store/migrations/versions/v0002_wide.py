"""Work branches with turns, limits per organization, writes that count once.

Code of 0001 goes on working on this schema, next to code of 0002: what it does not know is nullable or has a default.
It gives its runs no `branch_key` and heeds no turn; code of 0002 gives them one when it meets them.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

from treadle.store.branch_key import branch_key

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UUID = sa.String(36)

#: The oldest schema whose code may work on this one.
OLDEST = "0001"

runs = sa.table(
    "runs",
    sa.column("id"),
    sa.column("uuid"),
    sa.column("organization_id"),
    sa.column("git_url"),
    sa.column("branch_work"),
    sa.column("status"),
    sa.column("branch_key"),
    sa.column("holds_branch", sa.Boolean),
)
holders = sa.table("branch_holders", sa.column("branch"), sa.column("run_uuid"))


def upgrade() -> None:
    op.add_column("organizations", sa.Column("slots", sa.Integer))
    op.add_column("runs", sa.Column("branch_key", sa.Text))
    op.add_column("runs", sa.Column("holds_branch", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("runs", sa.Column("last_write", sa.Integer, nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("traceparent", sa.Text))
    op.add_column("runs", sa.Column("event_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "branch_holders",
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("run_uuid", UUID, nullable=False),
        sa.PrimaryKeyConstraint("branch", name="branch_holders_pkey"),
        sqlite_with_rowid=False,
    )
    oldest = op.create_table(
        "schema_compatibility",
        sa.Column("oldest", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("oldest", name="schema_compatibility_pkey"),
    )
    op.bulk_insert(oldest, [{"oldest": OLDEST}])
    index("runs_claimable", ["organization_id", "status", "id"], "holds_branch = 1", "holds_branch")
    index("runs_blocked", ["branch_key", "id"], "holds_branch = 0", "NOT holds_branch")
    is_begun = sa.text("date_started IS NOT NULL")
    op.create_index(
        "runs_served", "runs", ["organization_id", "date_started"], sqlite_where=is_begun, postgresql_where=is_begun
    )
    give_turns()
    count_events()


def index(name: str, columns: list[str], sqlite: str, postgres: str) -> None:
    """Of New runs, and of them those where that is so, in the words of each."""
    op.create_index(
        name,
        "runs",
        columns,
        sqlite_where=sa.text(f"status = 'New' AND {sqlite}"),
        postgresql_where=sa.text(f"status = 'New' AND {postgres}"),
    )


def give_turns() -> None:
    """Of the living runs on one work branch the Running one has its turn, else the oldest."""
    connection = op.get_bind()
    living = connection.execute(
        sa.select(runs.c.id, runs.c.uuid, runs.c.organization_id, runs.c.git_url, runs.c.branch_work)
        .where(sa.or_(runs.c.status == "New", runs.c.status == "Running"))
        .order_by(sa.case((runs.c.status == "Running", 0), else_=1), runs.c.id)
    ).all()
    turns: dict[str, str] = {}
    found = []
    for id_, uuid, organization_id, git_url, branch_work in living:
        key = branch_key(organization_id, git_url, branch_work)
        holder = turns.setdefault(key, uuid)
        # 0001 lets two run on one branch: neither is stopped, but only the first has the turn.
        found.append({"run": id_, "key": key, "holds": holder == uuid})
    each(
        sa.update(runs)
        .where(runs.c.id == sa.bindparam("run"))
        .values(branch_key=sa.bindparam("key"), holds_branch=sa.bindparam("holds")),
        found,
    )
    each(
        sa.insert(holders),
        [{"branch": key, "run_uuid": uuid} for key, uuid in turns.items()],
    )


def count_events() -> None:
    """Of the living runs, whose count goes on; that of the others would mean reading every event there is."""
    op.execute(
        "UPDATE runs SET event_bytes = (SELECT coalesce(sum(length(data)), 0) FROM events WHERE run_id = runs.id)"
        " WHERE status = 'New' OR status = 'Running'"
    )


def each(statement: sa.Update | sa.Insert, rows: Iterable[dict[str, object]]) -> None:
    listed = list(rows)
    if listed:
        op.get_bind().execute(statement, listed)

"""What nobody having to trust the agent needs: budgets, the month's bill, network policies, the audit log.

Code of 0001 to 0004 goes on working on this schema, next to code of 0005: what it does not know is nullable or has a
default. It knows no budget and no policy: what it runs is held by neither.
"""

import sqlalchemy as sa
from alembic import op

from treadle.store.migrations.columns import BIG_ID, flag, identifier, owned, table, text, whole

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Rows of `audit` are never changed and never removed, whoever writes to the database as Treadle.
_SQLITE = """CREATE TRIGGER audit_no_{0} BEFORE {0} ON audit
{1}BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"""
#: REPLACE takes the old row away without a DELETE that a trigger would see.
_TAKEN = "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) "
_FUNCTION = """CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"""
_POSTGRES = """CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()"""

#: The bill of the months before, by when their runs were made: of single answers nothing is known.
_MONTHS = """INSERT INTO monthly_costs (organization_id, month, user_id, input_tokens, output_tokens, cost_usd)
SELECT runs.organization_id, {month}, runs.user_id, sum(input_tokens), sum(output_tokens), sum(cost_usd)
FROM runs JOIN steps ON steps.run_id = runs.id GROUP BY 1, 2, 3"""
_MONTH_OF = {
    "sqlite": "strftime('%Y-%m', runs.date_created / 1000000, 'unixepoch')",
    "postgresql": "to_char(to_timestamp(runs.date_created / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM')",
}


def upgrade() -> None:
    op.add_column("organizations", sa.Column("default_max_cost_usd", sa.Double))
    op.add_column("organizations", sa.Column("monthly_cost_usd", sa.Double))
    op.add_column("users", sa.Column("date_tokens_void", sa.BigInteger))
    op.add_column("repositories", sa.Column("network", sa.Text))
    op.add_column("repositories", flag("scans_secrets", default=True))
    op.add_column("runs", sa.Column("max_cost_usd", sa.Double))
    op.add_column("runs", sa.Column("network", sa.Text))
    table(
        "monthly_costs",
        *owned("organization_id"),
        sa.Column("month", sa.String(7), nullable=False),
        *owned("user_id"),
        whole("input_tokens"),
        whole("output_tokens"),
        sa.Column("cost_usd", sa.Double, nullable=False),
        key=["organization_id", "month", "user_id"],
    )
    dialect = op.get_context().dialect.name
    op.execute(_MONTHS.format(month=_MONTH_OF[dialect]))
    table(
        "audit",
        identifier(),
        sa.Column("organization_id", BIG_ID),
        sa.Column("user_id", BIG_ID),
        text("actor"),
        text("action"),
        sa.Column("target", sa.Text),
        sa.Column("detail", sa.Text),
        text("door"),
        sa.Column("address", sa.Text),
        whole("date"),
    )
    op.create_index("audit_by_organization", "audit", ["organization_id", "id"])
    if dialect == "sqlite":
        for verb, condition in (("UPDATE", ""), ("DELETE", ""), ("INSERT", _TAKEN)):
            op.execute(_SQLITE.format(verb, condition))
    else:
        op.execute(_FUNCTION)
        op.execute(_POSTGRES)

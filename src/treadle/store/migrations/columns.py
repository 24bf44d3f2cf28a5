"""Columns and tables as migrations since 0003 make them, with the names that `tables.py` gives to their keys."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
#: What a column of this name refers to, by its id.
REFERS = {
    "organization_id": "organizations",
    "user_id": "users",
    "repository_id": "repositories",
    "run_id": "runs",
    "pull_request_id": "pull_requests",
    "local_session": "local_sessions",
    "provider_id": "oauth_providers",
    "api_key_id": "api_keys",
    "script_id": "scripts",
    "script_run_id": "script_runs",
    "batch_id": "batches",
    "hook_id": "hooks",
    "trigger_id": "triggers",
    "schedule_id": "schedules",
    "webhook_id": "webhooks",
}


def flag(name: str, *, default: bool) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.true() if default else sa.false())


def identifier() -> sa.Column[int]:
    return sa.Column("id", BIG_ID, sa.Identity(), nullable=False)


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def words(name: str) -> sa.Column[str]:
    """Text, or none."""
    return sa.Column(name, sa.Text)


def uuid() -> sa.Column[str]:
    return sa.Column("uuid", sa.String(36), nullable=False)


def whole(name: str) -> sa.Column[int]:
    """A large number, such as a date."""
    return sa.Column(name, sa.BigInteger, nullable=False)


def owned(*names: str) -> list[sa.Column[int]]:
    """Columns that refer to the table that each is called after."""
    return [sa.Column(name, BIG_ID, nullable=False) for name in names]


def optional(name: str) -> sa.Column[int]:
    """Refers to the table that it is called after, or to nothing."""
    return sa.Column(name, BIG_ID)


def date(name: str) -> sa.Column[int]:
    """One that may not have come yet."""
    return sa.Column(name, sa.BigInteger)


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def unique(table: str, *names: str) -> sa.UniqueConstraint:
    """Named as `tables.py` names it."""
    return sa.UniqueConstraint(*names, name=f"{table}_{'_'.join(names)}_key")


def identified(*names: str) -> list[sa.Column[int]]:
    return [identifier(), *owned(*names)]


def table(
    name: str,
    *columns: sa.schema.SchemaItem,
    key: Sequence[str] = ("id",),
    indexes: Sequence[str] = (),
) -> None:
    """With the names that `tables.py` gives to keys and constraints."""
    references = [
        sa.ForeignKeyConstraint([column.name], [f"{REFERS[column.name]}.id"], name=f"{name}_{column.name}_fkey")
        for column in columns
        if isinstance(column, sa.Column) and column.name in REFERS
    ]
    op.create_table(
        name,
        *columns,
        sa.PrimaryKeyConstraint(*key, name=f"{name}_pkey"),
        *references,
        sqlite_autoincrement=tuple(key) == ("id",),
    )
    for column in indexes:
        op.create_index(f"{name}_{column}", name, [column])

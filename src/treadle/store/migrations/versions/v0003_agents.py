"""Resumed runs, and what the agent-run dialect keeps: settings, rules, setup commands, pull requests, rates.

Code of 0001 and 0002 goes on working on this schema, next to code of 0003: what it does not know is nullable or has a
default. It knows nothing of follow-ups: a run may be resumed once every process is of this version.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from treadle.store.migrations.columns import flag, identified, identifier, owned, table, text, whole

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UUID = sa.String(36)


def upgrade() -> None:
    add_columns()
    add_tables()


def add_columns() -> None:
    added: dict[str, list[sa.Column[Any]]] = {
        "organizations": [
            flag("is_pr_creation_enabled", default=True),
            flag("is_rules_detection_enabled", default=True),
            sa.Column("rules", sa.Text),
            sa.Column("default_engine", sa.Text),
            sa.Column("default_model", sa.Text),
            sa.Column("default_repository_id", sa.BigInteger),
            sa.Column("monthly_runs", sa.Integer),
        ],
        "users": [
            sa.Column("rules", sa.Text),
            sa.Column("github_user_id", sa.Text),
            sa.Column("github_username", sa.Text),
            sa.Column("avatar_url", sa.Text),
        ],
        "api_keys": [flag("reaches_all", default=False)],
        "repositories": [
            sa.Column("description", sa.Text),
            sa.Column("visibility", sa.Text),
            flag("is_archived", default=False),
            sa.Column("language", sa.Text),
            sa.Column("forge", sa.Text),
            sa.Column("forge_api_url", sa.Text),
            sa.Column("forge_id", sa.Text),
            sa.Column("rules", sa.Text),
            sa.Column("setup_commands", sa.Text),
            sa.Column("setup_status", sa.Text, nullable=False, server_default="NONE"),
            sa.Column("check_suite_settings", sa.Text),
            sa.Column("check_names", sa.Text),
        ],
        "runs": [
            sa.Column("source", sa.Text, nullable=False, server_default="API"),
            sa.Column("purpose", sa.Text, nullable=False, server_default="Code"),
            sa.Column("metadata", sa.Text),
            flag("opens_pull_request", default=False),
            sa.Column("first_step", sa.Integer, nullable=False, server_default="1"),
        ],
        "steps": [
            flag("is_follow_up", default=False),
            sa.Column("file_ids", sa.Text, nullable=False, server_default="[]"),
        ],
        "checkpoints": [
            flag("is_phase_done", default=True),
            sa.Column("size", sa.BigInteger, nullable=False, server_default="0"),
        ],
    }
    for name, columns in added.items():
        for column in columns:
            op.add_column(name, column)
    op.create_index("memberships_user_id", "memberships", ["user_id"])
    op.create_index("repositories_by_organization", "repositories", ["organization_id", "id"])


def add_tables() -> None:
    table(
        "pull_requests",
        *identified("organization_id", "repository_id", "run_id"),
        whole("number"),
        text("title"),
        text("url"),
        text("state"),
        text("head_branch"),
        whole("date_created"),
        whole("date_updated"),
        sa.UniqueConstraint("repository_id", "number", name="pull_requests_repository_id_number_key"),
    )
    table("pull_request_runs", *owned("run_id", "pull_request_id"), key=["run_id", "pull_request_id"])
    table(
        "sandboxes",
        *identified("organization_id", "repository_id", "run_id"),
        text("digest"),
        text("status"),
        sa.Column("exit_code", sa.Integer),
        sa.Column("log_blob", sa.Text),
        whole("date_created"),
        sa.Column("date_completed", sa.BigInteger),
        indexes=["run_id"],
    )
    op.create_index("sandboxes_by_repository", "sandboxes", ["repository_id", "id"])
    table(
        "banned_branches",
        text("branch"),
        *owned("organization_id", "run_id", "user_id"),
        whole("date_created"),
        key=["branch"],
    )
    table("rates", text("name"), text("passed"), whole("date_expires"), key=["name"], indexes=["date_expires"])
    table(
        "allowances",
        *owned("organization_id"),
        sa.Column("month", sa.Integer, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        key=["organization_id", "month"],
    )
    session_tables()
    connection_tables()


def session_tables() -> None:
    table(
        "local_sessions",
        identifier(),
        text("session_id"),
        *owned("organization_id", "user_id"),
        text("status"),
        sa.Column("last_log", sa.Integer, nullable=False),
        whole("date_created"),
        whole("date_updated"),
        sa.UniqueConstraint("organization_id", "session_id", name="local_sessions_organization_id_session_id_key"),
    )
    op.create_index("local_sessions_by_user", "local_sessions", ["organization_id", "user_id", "id"])
    op.create_index("local_sessions_by_organization", "local_sessions", ["organization_id", "id"])
    table(
        "local_session_logs",
        *owned("local_session"),
        sa.Column("number", sa.Integer, nullable=False),
        text("data"),
        whole("date"),
        key=["local_session", "number"],
    )


def connection_tables() -> None:
    table(
        "connect_tokens",
        text("digest"),
        *owned("organization_id", "user_id"),
        whole("date_expires"),
        sa.Column("date_used", sa.BigInteger),
        key=["digest"],
        indexes=["date_expires"],
    )
    table(
        "connections",
        *owned("organization_id"),
        text("provider"),
        text("account"),
        *owned("user_id"),
        whole("date_created"),
        key=["organization_id", "provider", "account"],
    )
    table(
        "oauth_providers",
        identifier(),
        text("name"),
        text("issuer"),
        text("authorization_endpoint"),
        text("token_endpoint"),
        sa.Column("default_scopes", sa.Text),
        sa.Column("is_mcp", sa.Boolean, nullable=False),
        sa.Column("meta", sa.Text),
        whole("date_created"),
        sa.UniqueConstraint("name", name="oauth_providers_name_key"),
    )
    table(
        "oauth_tokens",
        identifier(),
        sa.Column("uuid", UUID, nullable=False),
        *owned("organization_id", "user_id", "provider_id"),
        sa.Column("sealed", sa.Text),
        whole("date_created"),
        sa.Column("date_revoked", sa.BigInteger),
        sa.UniqueConstraint("uuid", name="oauth_tokens_uuid_key"),
    )
    op.create_index("oauth_tokens_by_user", "oauth_tokens", ["organization_id", "user_id", "provider_id"])

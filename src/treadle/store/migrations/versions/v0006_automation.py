"""What automation needs: background work, scripts, batches, triggers, schedules, webhooks; commands that validate; and
licenses that are renewed once for all processes.

Code of 0001 to 0005 goes on working on this schema, next to code of 0006: all of it is new or nullable. It runs no
commands that validate, and nobody is told of what it does.
"""

import sqlalchemy as sa
from alembic import op

from treadle.store.migrations.columns import (
    date,
    flag,
    identifier,
    number,
    optional,
    owned,
    table,
    text,
    unique,
    uuid,
    whole,
    words,
)

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("repositories", "runs", "steps"):
        op.add_column(name, sa.Column("validation", sa.Text))
    table("license_renewals", text("token"), text("holder"), whole("date_ends"), words("follows"), key=["token"])
    _chores()
    _scripts()
    _batches()
    _triggers()
    _schedules()
    _webhooks()


def _chores() -> None:
    free, taken = sa.text("date_lease_ends IS NULL"), sa.text("date_lease_ends IS NOT NULL")
    table(
        "chores",
        text("kind"),
        whole("subject"),
        date("date_due"),
        sa.Column("lease", sa.BigInteger, nullable=False, server_default="0"),
        words("worker"),
        date("date_lease_ends"),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        key=["kind", "subject"],
    )
    op.create_index("chores_due", "chores", ["date_due"], sqlite_where=free, postgresql_where=free)
    op.create_index("chores_taken", "chores", ["date_lease_ends"], sqlite_where=taken, postgresql_where=taken)
    table("run_watchers", *owned("run_id"), text("kind"), whole("subject"), key=["run_id", "kind", "subject"])


def _scripts() -> None:
    table(
        "scripts",
        identifier(),
        uuid(),
        *owned("organization_id", "user_id"),
        text("name"),
        words("description"),
        number("version"),
        sa.Column("is_archived", sa.Boolean, nullable=False),
        whole("date_created"),
        whole("date_updated"),
        unique("scripts", "organization_id", "name"),
        unique("scripts", "uuid"),
    )
    table(
        "script_versions",
        *owned("script_id"),
        number("version"),
        text("source"),
        *owned("user_id"),
        whole("date_created"),
        key=["script_id", "version"],
    )
    table(
        "script_runs",
        identifier(),
        uuid(),
        *owned("organization_id", "user_id"),
        optional("script_id"),
        sa.Column("version", sa.Integer),
        text("name"),
        text("source"),
        text("inputs"),
        text("status"),
        words("outputs"),
        words("failure_details"),
        words("waits_for"),
        number("calls"),
        number("log_lines"),
        whole("date_created"),
        date("date_started"),
        date("date_completed"),
        date("date_kill_requested"),
        unique("script_runs", "uuid"),
    )
    op.create_index("script_runs_by_organization", "script_runs", ["organization_id", "id"])
    op.create_index("script_runs_by_script", "script_runs", ["script_id", "id"])
    table(
        "script_calls",
        *owned("script_run_id"),
        number("number"),
        text("name"),
        text("digest"),
        text("arguments"),
        words("answer"),
        whole("date_created"),
        date("date_answered"),
        key=["script_run_id", "number"],
    )
    table(
        "script_logs",
        *owned("script_run_id"),
        number("number"),
        text("text"),
        whole("date"),
        key=["script_run_id", "number"],
    )


def _batches() -> None:
    table(
        "batches",
        identifier(),
        uuid(),
        *owned("organization_id", "user_id"),
        text("name"),
        text("plan"),
        text("variables"),
        number("concurrency"),
        sa.Column("stop_after_failures", sa.Integer),
        sa.Column("max_cost_usd", sa.Double),
        text("status"),
        words("failure_details"),
        *map(number, ("items", "succeeded", "failed", "killed", "skipped")),
        sa.Column("cost_usd", sa.Double, nullable=False),
        number("attempt"),
        whole("date_created"),
        whole("date_updated"),
        date("date_completed"),
        date("date_kill_requested"),
        sa.Column("last_event", sa.Integer, nullable=False, server_default="0"),
        unique("batches", "uuid"),
    )
    op.create_index("batches_by_organization", "batches", ["organization_id", "id"])
    table(
        "batch_items",
        *owned("batch_id"),
        number("position"),
        optional("repository_id"),
        text("url"),
        text("name"),
        text("variables"),
        text("status"),
        number("attempt"),
        optional("run_id"),
        text("earlier_runs"),
        words("failure_details"),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("changed_files", sa.Integer),
        date("date_started"),
        date("date_completed"),
        key=["batch_id", "position"],
    )
    op.create_index("batch_items_by_status", "batch_items", ["batch_id", "status", "position"])
    op.create_index("batch_items_run_id", "batch_items", ["run_id"])


def _triggers() -> None:
    code = sa.text("purpose = 'Code'")
    op.create_index("runs_by_branch", "runs", ["branch_key", "id"], sqlite_where=code, postgresql_where=code)
    table(
        "hooks",
        identifier(),
        uuid(),
        *owned("organization_id"),
        optional("repository_id"),
        text("kind"),
        text("sealed"),
        date("date_before_ends"),
        whole("date_created"),
        date("date_delivered"),
        unique("hooks", "uuid"),
    )
    op.create_index("hooks_by_organization", "hooks", ["organization_id", "id"])
    op.create_index("hooks_by_repository", "hooks", ["repository_id"])
    table(
        "triggers",
        identifier(),
        uuid(),
        *owned("organization_id", "user_id", "hook_id"),
        text("name"),
        text("kind"),
        text("settings"),
        words("plan"),
        flag("is_enabled", default=True),
        whole("date_created"),
        whole("date_updated"),
        unique("triggers", "uuid"),
    )
    op.create_index("triggers_by_organization", "triggers", ["organization_id", "id"])
    op.create_index("triggers_hook_id", "triggers", ["hook_id"])
    table(
        "deliveries",
        identifier(),
        *owned("hook_id"),
        text("delivery"),
        words("digest"),
        text("event"),
        text("headers"),
        text("body"),
        text("status"),
        words("detail"),
        optional("run_id"),
        whole("date_received"),
        date("date_done"),
        unique("deliveries", "hook_id", "delivery"),
        unique("deliveries", "hook_id", "digest"),
    )
    op.create_index("deliveries_by_hook", "deliveries", ["hook_id", "status", "id"])
    op.create_index("deliveries_date_received", "deliveries", ["date_received"])
    table(
        "threads",
        identifier(),
        *owned("repository_id"),
        text("subject"),
        whole("number"),
        *owned("trigger_id", "run_id"),
        number("last_step"),
        number("answered_step"),
        text("detail"),
        whole("date_created"),
        whole("date_updated"),
        unique("threads", "repository_id", "subject", "number", "trigger_id"),
    )
    op.create_index("threads_run_id", "threads", ["run_id"])
    table(
        "check_tries",
        text("branch"),
        text("name"),
        *owned("organization_id"),
        number("tries"),
        number("wakes"),
        text("sha"),
        whole("delivery"),
        *owned("run_id"),
        whole("date_updated"),
        key=["branch", "name"],
    )


def _schedules() -> None:
    table(
        "schedules",
        identifier(),
        uuid(),
        *owned("organization_id", "user_id"),
        text("name"),
        text("cron"),
        text("time_zone"),
        text("missed"),
        text("overlap"),
        text("target"),
        flag("is_enabled", default=True),
        date("date_next"),
        whole("date_created"),
        whole("date_updated"),
        unique("schedules", "organization_id", "name"),
        unique("schedules", "uuid"),
    )
    table(
        "firings",
        *owned("schedule_id"),
        whole("date_due"),
        whole("date_fired"),
        text("outcome"),
        words("detail"),
        optional("run_id"),
        optional("batch_id"),
        optional("script_run_id"),
        key=["schedule_id", "date_due"],
    )
    op.create_index("firings_batch_id", "firings", ["batch_id"])
    op.create_index("firings_script_run_id", "firings", ["script_run_id"])


def _webhooks() -> None:
    table(
        "webhooks",
        identifier(),
        uuid(),
        *owned("organization_id", "user_id"),
        text("name"),
        text("kind"),
        text("sealed_target"),
        text("shown_target"),
        words("sealed"),
        words("sealed_before"),
        date("date_before_ends"),
        text("filter"),
        flag("is_enabled", default=True),
        whole("date_created"),
        whole("date_updated"),
        unique("webhooks", "uuid"),
    )
    op.create_index("webhooks_by_organization", "webhooks", ["organization_id", "id"])
    table(
        "messages",
        identifier(),
        uuid(),
        *owned("webhook_id"),
        text("lane"),
        text("type"),
        optional("run_id"),
        sa.Column("number", sa.Integer),
        text("data"),
        text("status"),
        number("tries"),
        words("last_error"),
        whole("date_created"),
        whole("date_queued"),
        whole("date_next"),
        date("date_done"),
        unique("messages", "uuid"),
    )
    op.create_index("messages_by_lane", "messages", ["webhook_id", "status", "lane", "id"])
    op.create_index("messages_by_run", "messages", ["run_id"])
    op.create_index("messages_by_webhook", "messages", ["webhook_id", "status", "id"])
    op.create_index("messages_done", "messages", ["date_done"])

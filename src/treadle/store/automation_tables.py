"""The tables of automation: background work, scripts, batches, triggers, schedules, webhooks. As `tables.py`, in which
runs and all that belongs to them are."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    null,
    true,
)

from treadle.store.tables import Date, Uuid, identifier, metadata

#: The tables of both modules: who imports this has them all.
EVERYTHING = metadata

#: Background work that is due at a time (`ports/chores.py`). `date_due` null: taken, and nobody has asked for it since.
chores = Table(
    "chores",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("subject", BigInteger, primary_key=True),  # the id of what it is about, by its kind
    Column("date_due", Date),
    Column("lease", BigInteger, nullable=False, server_default="0"),  # the number of the last claim
    Column("worker", Text),
    Column("date_lease_ends", Date),  # null: nobody has it
    Column("tries", Integer, nullable=False, server_default="0"),  # that failed, one after another
)
_is_free = chores.c.date_lease_ends.is_(null())
_is_taken = chores.c.date_lease_ends.is_not(null())
Index("chores_due", chores.c.date_due, sqlite_where=_is_free, postgresql_where=_is_free)
Index("chores_taken", chores.c.date_lease_ends, sqlite_where=_is_taken, postgresql_where=_is_taken)

#: Which chores become due when a run has ended.
run_watchers = Table(
    "run_watchers",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("subject", BigInteger, primary_key=True),
)

scripts = Table(
    "scripts",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("version", Integer, nullable=False),  # the newest
    Column("is_archived", Boolean, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    UniqueConstraint("organization_id", "name"),
    sqlite_autoincrement=True,
)

script_versions = Table(
    "script_versions",
    metadata,
    Column("script_id", ForeignKey("scripts.id"), primary_key=True),
    Column("version", Integer, primary_key=True),  # from 1
    Column("source", Text, nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("date_created", Date, nullable=False),
)

#: `script_id` null: run as it was sent, without being saved. `source` is its own: a version may be gone by then.
script_runs = Table(
    "script_runs",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("script_id", ForeignKey("scripts.id")),
    Column("version", Integer),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("inputs", Text, nullable=False),  # JSON
    Column("status", Text, nullable=False),
    Column("outputs", Text),  # JSON
    Column("failure_details", Text),
    Column("waits_for", Text),  # JSON: the call that it waits for the answer of
    Column("calls", Integer, nullable=False),
    Column("log_lines", Integer, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("date_started", Date),
    Column("date_completed", Date),
    Column("date_kill_requested", Date),
    Index("script_runs_by_organization", "organization_id", "id"),
    Index("script_runs_by_script", "script_id", "id"),
    sqlite_autoincrement=True,
)

#: The journal: what a script asked for, and the answer that it gets again when it is replayed.
script_calls = Table(
    "script_calls",
    metadata,
    Column("script_run_id", ForeignKey("script_runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),  # of the arguments
    Column("arguments", Text, nullable=False),  # JSON
    Column("answer", Text),  # JSON; null: not yet
    Column("date_created", Date, nullable=False),
    Column("date_answered", Date),
)

script_logs = Table(
    "script_logs",
    metadata,
    Column("script_run_id", ForeignKey("script_runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("text", Text, nullable=False),
    Column("date", Date, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("plan", Text, nullable=False),  # JSON
    Column("variables", Text, nullable=False),  # JSON
    Column("concurrency", Integer, nullable=False),  # runs of its at once
    Column("stop_after_failures", Integer),  # null: never
    Column("max_cost_usd", Double),  # of all its runs together
    Column("status", Text, nullable=False),
    Column("failure_details", Text),  # why it was stopped
    # Counted as its items end, so that nobody has to look at all of them.
    Column("items", Integer, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("killed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("cost_usd", Double, nullable=False),  # of the runs that have ended, of all attempts
    Column("attempt", Integer, nullable=False),  # from 1; each retry of the failed ones is another
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    Column("date_completed", Date),
    Column("date_kill_requested", Date),
    Column("last_event", Integer, nullable=False, server_default="0"),
    Index("batches_by_organization", "organization_id", "id"),
    sqlite_autoincrement=True,
)

#: One repository of a batch. The UUID of its run is made of the batch, the position and the attempt: asked for twice,
#: it is one run.
batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", ForeignKey("batches.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # from 1
    Column("repository_id", ForeignKey("repositories.id")),
    Column("url", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("variables", Text, nullable=False),  # JSON: its own, over those of the batch
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("run_id", ForeignKey("runs.id"), index=True),  # of the last attempt
    Column("earlier_runs", Text, nullable=False),  # JSON: [run id] of the attempts before
    Column("failure_details", Text),
    Column("cost_usd", Double, nullable=False),  # of all attempts
    Column("changed_files", Integer),  # by the last run; null: it left no diff
    Column("date_started", Date),
    Column("date_completed", Date),
    Index("batch_items_by_status", "batch_id", "status", "position"),
)

#: Where forges, CI and trackers deliver to. `repository_id` null: a trigger URL of no repository.
hooks = Table(
    "hooks",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("repository_id", ForeignKey("repositories.id")),
    Column("kind", Text, nullable=False),  # github, gitlab, gitea, url
    Column("sealed", Text, nullable=False),  # the secret, and the one before, which counts until `date_before_ends`
    Column("date_before_ends", Date),
    Column("date_created", Date, nullable=False),
    Column("date_delivered", Date),  # the last time
    Index("hooks_by_organization", "organization_id", "id"),
    Index("hooks_by_repository", "repository_id"),
    sqlite_autoincrement=True,
)

#: What becomes of deliveries.
triggers = Table(
    "triggers",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),  # whose runs they are
    Column("hook_id", ForeignKey("hooks.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # check, issue, comment, review, url
    Column("settings", Text, nullable=False),  # JSON: labels, assignees, mentions, …
    Column("plan", Text),  # JSON; null: the one that goes with the kind
    Column("is_enabled", Boolean, nullable=False, server_default=true()),
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    Index("triggers_by_organization", "organization_id", "id"),
    sqlite_autoincrement=True,
)

#: Each once, by the id that its sender gave it.
deliveries = Table(
    "deliveries",
    metadata,
    identifier(),
    Column("hook_id", ForeignKey("hooks.id"), nullable=False),
    Column("delivery", Text, nullable=False),
    Column("digest", Text),  # of the body; null: the same body may come again
    Column("event", Text, nullable=False),
    Column("headers", Text, nullable=False),  # JSON: those that are read
    Column("body", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("detail", Text),  # why it was ignored, or what went wrong
    Column("run_id", ForeignKey("runs.id")),
    Column("date_received", Date, nullable=False, index=True),
    Column("date_done", Date),
    UniqueConstraint("hook_id", "delivery"),
    UniqueConstraint("hook_id", "digest"),
    Index("deliveries_by_hook", "hook_id", "status", "id"),
    sqlite_autoincrement=True,
)

#: What an issue or a pull request is talked about in: the run that goes on with it, and what waits to be answered.
threads = Table(
    "threads",
    metadata,
    identifier(),
    Column("repository_id", ForeignKey("repositories.id"), nullable=False),
    Column("subject", Text, nullable=False),  # issue, pull_request: some forges number the two apart
    Column("number", BigInteger, nullable=False),  # of the issue or pull request at the forge
    Column("trigger_id", ForeignKey("triggers.id"), nullable=False),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("last_step", Integer, nullable=False),  # asked for here; 0: none
    Column("answered_step", Integer, nullable=False),  # whose answer is posted; 0: none
    Column("detail", Text, nullable=False),  # JSON: what is needed to answer
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    UniqueConstraint("repository_id", "subject", "number", "trigger_id"),
    sqlite_autoincrement=True,
)

#: How often a failed check on a branch was worked on since it passed; `branch` is a `branch_key`. `wakes`: how often it
#: has woken the branch's run at all; of those that did so together one counts.
check_tries = Table(
    "check_tries",
    metadata,
    Column("branch", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("wakes", Integer, nullable=False),
    Column("sha", Text, nullable=False),  # the commit that it last failed on; empty once it has passed
    Column("delivery", BigInteger, nullable=False),  # the id of the one that wakes the run for it
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("date_updated", Date, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("missed", Text, nullable=False),  # skip, once, all
    Column("overlap", Text, nullable=False),  # skip, wait, allow
    Column("target", Text, nullable=False),  # JSON: what is started: a plan, a batch or a script, and where
    Column("is_enabled", Boolean, nullable=False, server_default=true()),
    Column("date_next", Date),  # null: never again
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    UniqueConstraint("organization_id", "name"),
    sqlite_autoincrement=True,
)

#: One row a due time: who has it, starts it.
firings = Table(
    "firings",
    metadata,
    Column("schedule_id", ForeignKey("schedules.id"), primary_key=True),
    Column("date_due", Date, primary_key=True),
    Column("date_fired", Date, nullable=False),
    Column("outcome", Text, nullable=False),  # started, skipped, missed, failed
    Column("detail", Text),
    Column("run_id", ForeignKey("runs.id")),
    Column("batch_id", ForeignKey("batches.id"), index=True),
    Column("script_run_id", ForeignKey("script_runs.id"), index=True),
)

#: Who is told of what happens: by an HTTP request, a Slack-compatible message, or an e-mail.
webhooks = Table(
    "webhooks",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # webhook, slack, email
    Column("sealed_target", Text, nullable=False),  # the address: Slack's is a secret
    Column("shown_target", Text, nullable=False),  # what may be shown of it
    Column("sealed", Text),  # the signing secret
    Column("sealed_before", Text),  # the one before: signs too, until `date_before_ends`
    Column("date_before_ends", Date),
    Column("filter", Text, nullable=False),  # JSON: types, repositories, statuses, sources
    Column("is_enabled", Boolean, nullable=False, server_default=true()),
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    Index("webhooks_by_organization", "organization_id", "id"),
    sqlite_autoincrement=True,
)

#: The outbox: written in the transaction of what it tells of. `lane`: messages of one lane go out one after another.
messages = Table(
    "messages",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("webhook_id", ForeignKey("webhooks.id"), nullable=False),
    Column("lane", Text, nullable=False),  # "run 12", "batch 3"
    Column("type", Text, nullable=False),
    Column("run_id", ForeignKey("runs.id")),
    Column("number", Integer),  # of the run's or the batch's event
    Column("data", Text, nullable=False),  # JSON
    Column("status", Text, nullable=False),  # Waiting, Delivered, Dead
    Column("tries", Integer, nullable=False),
    Column("last_error", Text),
    Column("date_created", Date, nullable=False),  # when it happened
    Column("date_queued", Date, nullable=False),  # when it was put in line, or again
    Column("date_next", Date, nullable=False),
    Column("date_done", Date),
    Index("messages_by_webhook", "webhook_id", "status", "id"),
    Index("messages_by_lane", "webhook_id", "status", "lane", "id"),
    Index("messages_by_run", "run_id"),
    Index("messages_done", "date_done"),
    sqlite_autoincrement=True,
)

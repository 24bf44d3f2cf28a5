"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
UUID = sa.String(36)

RUN_STATUS = "status = 'New' OR status = 'Running' OR status = 'Success' OR status = 'Failed' OR status = 'Killed'"
ENGINE = "engine = 'Claude' OR engine = 'Kimi' OR engine = 'Dummy'"
PHASE = "phase = 'Analysis' OR phase = 'Implementation' OR phase = 'Validation'"


def upgrade() -> None:
    owners()
    run_tables()
    file_tables()


def identifier() -> "sa.Column[int]":
    return sa.Column("id", BIG_ID, sa.Identity(), nullable=False)


def organization(table: str, *, column: str = "organization_id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["organizations.id"], name=f"{table}_{column}_fkey")


def user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=f"{table}_user_id_fkey")


def run(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=f"{table}_run_id_fkey")


def owners() -> None:
    op.create_table(
        "organizations",
        identifier(),
        sa.Column("uuid", UUID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="organizations_pkey"),
        sa.UniqueConstraint("uuid", name="organizations_uuid_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "users",
        identifier(),
        sa.Column("uuid", UUID, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_folded", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
        sa.UniqueConstraint("uuid", name="users_uuid_key"),
        sa.UniqueConstraint("email_folded", name="users_email_folded_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "memberships",
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.CheckConstraint(
            "role = 'ADMIN' OR role = 'MANAGER' OR role = 'MEMBER'", name=op.f("memberships_role_check")
        ),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name="memberships_pkey"),
        organization("memberships"),
        user("memberships"),
    )
    op.create_table(
        "api_keys",
        identifier(),
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.Column("date_expires", sa.BigInteger),
        sa.Column("date_revoked", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="api_keys_pkey"),
        organization("api_keys"),
        user("api_keys"),
        sa.UniqueConstraint("digest", name="api_keys_digest_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("api_keys_organization_id", "api_keys", ["organization_id"])
    op.create_table(
        "signing_keys",
        identifier(),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="signing_keys_pkey"),
        sa.UniqueConstraint("key_id", name="signing_keys_key_id_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "repositories",
        identifier(),
        sa.Column("uuid", UUID, nullable=False),
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("default_branch", sa.Text, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="repositories_pkey"),
        sa.UniqueConstraint("organization_id", "name", name="repositories_organization_id_name_key"),
        organization("repositories"),
        sa.UniqueConstraint("uuid", name="repositories_uuid_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "secrets",
        sa.Column("owner", UUID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("date_updated", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("owner", "name", name="secrets_pkey"),
        organization("secrets"),
    )


def run_tables() -> None:
    op.create_table(
        "runs",
        identifier(),
        sa.Column("uuid", UUID, nullable=False),
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("organization_uuid", UUID, nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("user_uuid", UUID, nullable=False),
        sa.Column("repository_id", BIG_ID),
        sa.Column("git_url", sa.Text, nullable=False),
        sa.Column("branch_source", sa.Text, nullable=False),
        sa.Column("branch_work", sa.Text, nullable=False),
        sa.Column("code_guidelines", sa.Text),
        sa.Column("file_ids", sa.Text, nullable=False),
        sa.Column("generate_diff", sa.Boolean, nullable=False),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("failure_details", sa.Text),
        sa.Column("lease", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("lost_workers", sa.Integer, nullable=False),
        sa.Column("secrets_version", sa.Integer, nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.Column("has_diff", sa.Boolean, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.Column("date_updated", sa.BigInteger, nullable=False),
        sa.Column("date_started", sa.BigInteger),
        sa.Column("date_completed", sa.BigInteger),
        sa.Column("date_runner_ping", sa.BigInteger),
        sa.Column("date_kill_requested", sa.BigInteger),
        sa.CheckConstraint(RUN_STATUS, name=op.f("runs_status_check")),
        sa.CheckConstraint(ENGINE, name=op.f("runs_engine_check")),
        sa.CheckConstraint(
            "(date_completed IS NOT NULL) = (status = 'Success' OR status = 'Failed' OR status = 'Killed')",
            name=op.f("runs_completed_check"),
        ),
        sa.CheckConstraint(
            "status <> 'Running' OR (lease > 0 AND date_started IS NOT NULL AND date_runner_ping IS NOT NULL)",
            name=op.f("runs_running_check"),
        ),
        sa.CheckConstraint(
            "lease >= 0 AND lost_workers >= 0 AND secrets_version >= 0 AND last_event >= 0",
            name=op.f("runs_counters_check"),
        ),
        sa.PrimaryKeyConstraint("id", name="runs_pkey"),
        organization("runs"),
        user("runs"),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="runs_repository_id_fkey"),
        sa.UniqueConstraint("uuid", name="runs_uuid_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_organization", "runs", ["organization_id", "status", "id"])
    op.create_index("runs_by_user", "runs", ["organization_id", "user_id", "status", "id"])
    for name, where in (("runs_new", "status = 'New'"), ("runs_running", "status = 'Running'")):
        op.create_index(name, "runs", ["id"], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_table(
        "steps",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("uuid", UUID, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("is_commitable", sa.Boolean, nullable=False),
        sa.Column("is_structured", sa.Boolean, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("phase", sa.Text),
        sa.Column("output", sa.Text),
        sa.Column("structured_output", sa.Text),
        sa.Column("failure_details", sa.Text),
        sa.Column("commit_sha", sa.Text),
        sa.Column("date_started", sa.BigInteger),
        sa.Column("date_completed", sa.BigInteger),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("run_id", "uuid", name="steps_run_id_uuid_key"),
        sa.CheckConstraint(
            "status = 'NotStarted' OR status = 'Running' OR status = 'Success' OR status = 'Failed'",
            name=op.f("steps_status_check"),
        ),
        sa.CheckConstraint(PHASE, name=op.f("steps_phase_check")),
        sa.CheckConstraint("position >= 1", name=op.f("steps_position_check")),
        sa.CheckConstraint(
            "(date_completed IS NOT NULL) = (status = 'Success' OR status = 'Failed')",
            name=op.f("steps_completed_check"),
        ),
        sa.PrimaryKeyConstraint("run_id", "position", name="steps_pkey"),
        run("steps"),
    )
    op.create_table(
        "events",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("date", sa.BigInteger, nullable=False),
        sa.Column("step", sa.Integer),
        sa.Column("phase", sa.Text),
        sa.CheckConstraint("number >= 1", name=op.f("events_number_check")),
        sa.CheckConstraint(PHASE, name=op.f("events_phase_check")),
        sa.PrimaryKeyConstraint("run_id", "number", name="events_pkey"),
        run("events"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("session_blob", sa.Text),
        sa.Column("patch_blob", sa.Text),
        sa.Column("base_sha", sa.Text, nullable=False),
        sa.Column("output", sa.Text),
        sa.Column("structured_output", sa.Text),
        sa.CheckConstraint(PHASE, name=op.f("checkpoints_phase_check")),
        sa.CheckConstraint(ENGINE, name=op.f("checkpoints_engine_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "step"], ["steps.run_id", "steps.position"], name="checkpoints_run_id_step_fkey"
        ),
        sa.PrimaryKeyConstraint("run_id", name="checkpoints_pkey"),
        run("checkpoints"),
    )
    op.create_table(
        "artifacts",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("blob", sa.Text, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name="artifacts_pkey"),
        run("artifacts"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("run_uuid", UUID, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "user_id", "key", name="idempotency_keys_pkey"),
        organization("idempotency_keys"),
        user("idempotency_keys"),
    )
    op.create_index("idempotency_keys_date_created", "idempotency_keys", ["date_created"])


def file_tables() -> None:
    op.create_table(
        "files",
        identifier(),
        sa.Column("uuid", UUID, nullable=False),
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("date_created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="files_pkey"),
        organization("files"),
        user("files"),
        sa.UniqueConstraint("uuid", name="files_uuid_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("files_by_organization", "files", ["organization_id", "id"])
    op.create_index("files_by_user", "files", ["organization_id", "user_id", "id"])
    op.create_table(
        "run_files",
        sa.Column("file_uuid", UUID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint("file_uuid", "run_id", name="run_files_pkey"),
        sa.ForeignKeyConstraint(["file_uuid"], ["files.uuid"], name="run_files_file_uuid_fkey", ondelete="CASCADE"),
        run("run_files"),
    )

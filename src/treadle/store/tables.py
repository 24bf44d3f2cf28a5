"""Every table, as SQLAlchemy sees it; `migrations` makes them, and a test holds the two to each other.

What goes in and out is what both drivers take natively, so that statements run without SQLAlchemy's conversions:
dates are whole microseconds since 1970 in UTC, UUIDs their 36 characters, JSON is text, booleans come back as 0 or 1
from SQLite (`values.py` converts).
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    literal_column,
    not_,
    null,
    true,
)

from treadle.domain.identity import Role
from treadle.domain.run import EngineName, RunPurpose
from treadle.domain.states import RUN_TERMINAL, STEP_TERMINAL, Phase, RunStatus, StepStatus

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

#: SQLite counts only an INTEGER PRIMARY KEY up by itself.
BigId = BigInteger().with_variant(Integer, "sqlite")
Uuid = String(36)
Date = BigInteger  # microseconds since 1970


def either(column: str, values: Iterable[StrEnum]) -> str:
    """`column = 'A' OR column = 'B'`, in the order of the enum's members. Not `IN`: for each row SQLite would make a
    table of the values first, which takes longer than the insertion itself."""
    members = list(values)
    order = list(type(members[0]))
    return " OR ".join(f"{column} = '{value}'" for value in sorted(members, key=order.index))


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(either(column, values), name=column)


def identifier() -> Column[int]:
    return Column("id", BigId, Identity(), primary_key=True)


organizations = Table(
    "organizations",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("slots", Integer),  # Running at once; null: what the setting says
    Column("is_pr_creation_enabled", Boolean, nullable=False, server_default=true()),
    Column("is_rules_detection_enabled", Boolean, nullable=False, server_default=true()),
    Column("rules", Text),
    Column("default_engine", Text),
    Column("default_model", Text),
    Column("default_repository_id", BigInteger),
    Column("monthly_runs", Integer),
    Column("default_max_cost_usd", Double),
    Column("monthly_cost_usd", Double),
    sqlite_autoincrement=True,
)

users = Table(
    "users",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("email_folded", Text, nullable=False, unique=True),  # an address is one however it is capitalized
    Column("name", Text, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("rules", Text),
    Column("github_user_id", Text),
    Column("github_username", Text),
    Column("avatar_url", Text),
    Column("password", Text),  # hashed, with its salt and cost; null: none
    Column("date_tokens_void", Date),  # JWTs that were issued until then do not count
    sqlite_autoincrement=True,
)

memberships = Table(
    "memberships",
    metadata,
    Column("organization_id", ForeignKey("organizations.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True, index=True),
    Column("role", Text, nullable=False),
    one_of("role", Role),
)

api_keys = Table(
    "api_keys",
    metadata,
    identifier(),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False, index=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256 of the key, which itself is nowhere
    Column("date_created", Date, nullable=False),
    Column("date_expires", Date),
    Column("date_revoked", Date),
    Column("reaches_all", Boolean, nullable=False, server_default=false()),
    sqlite_autoincrement=True,
)

signing_keys = Table(
    "signing_keys",
    metadata,
    identifier(),
    Column("key_id", Text, nullable=False, unique=True),
    Column("sealed", Text, nullable=False),
    Column("date_created", Date, nullable=False),
    sqlite_autoincrement=True,
)

repositories = Table(
    "repositories",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("default_branch", Text, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("description", Text),
    Column("visibility", Text),
    Column("is_archived", Boolean, nullable=False, server_default=false()),
    Column("language", Text),
    Column("forge", Text),  # its kind; null: none
    Column("forge_api_url", Text),
    Column("forge_id", Text),
    Column("rules", Text),
    Column("setup_commands", Text),
    Column("setup_status", Text, nullable=False, server_default="NONE"),
    Column("check_suite_settings", Text),  # JSON; null: the defaults
    Column("check_names", Text),  # JSON: [str]
    Column("network", Text),  # JSON of a policy; null: the service's setting
    Column("scans_secrets", Boolean, nullable=False, server_default=true()),
    Column("validation", Text),  # JSON of rules; null: none
    UniqueConstraint("organization_id", "name"),
    Index("repositories_by_organization", "organization_id", "id"),
    sqlite_autoincrement=True,
)

#: Sealed; `owner` is the UUID of a run or of a repository.
secrets = Table(
    "secrets",
    metadata,
    Column("owner", Uuid, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("sealed", Text, nullable=False),
    Column("date_updated", Date, nullable=False),
)

#: Of refresh tokens, each of which works once: who shows it, and what it was used up for.
license_renewals = Table(
    "license_renewals",
    metadata,
    Column("token", Text, primary_key=True),  # a name that is derived from it
    Column("holder", Text, nullable=False),  # of the claim
    Column("date_ends", Date, nullable=False),  # of the claim; of what is finished, when that was
    Column("follows", Text),  # opens with the token alone; null: nothing yet
)

runs = Table(
    "runs",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("organization_uuid", Uuid, nullable=False),  # copied, as is user_uuid: reading a run joins neither
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("user_uuid", Uuid, nullable=False),
    Column("repository_id", ForeignKey("repositories.id")),
    Column("git_url", Text, nullable=False),
    Column("branch_source", Text, nullable=False),
    Column("branch_work", Text, nullable=False),
    Column("code_guidelines", Text),
    Column("file_ids", Text, nullable=False),  # JSON: [uuid]; run_files has them for as long as the files exist
    Column("generate_diff", Boolean, nullable=False),
    Column("engine", Text, nullable=False),
    Column("model", Text),
    Column("status", Text, nullable=False),
    Column("failure_details", Text),
    Column("lease", Integer, nullable=False),
    Column("worker", Text),  # who claimed it last
    Column("lost_workers", Integer, nullable=False),
    Column("secrets_version", Integer, nullable=False),
    Column("last_event", Integer, nullable=False),
    Column("has_diff", Boolean, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    Column("date_started", Date),
    Column("date_completed", Date),
    Column("date_runner_ping", Date),
    Column("date_kill_requested", Date),
    # Null for a run that a process of schema 0001 made, until a claim or a sweep finds it (`branches.py`).
    Column("branch_key", Text),
    Column("holds_branch", Boolean, nullable=False, server_default=true()),
    Column("last_write", Integer, nullable=False, server_default="0"),  # of the current claim's counted writes
    Column("traceparent", Text),
    Column("event_bytes", BigInteger, nullable=False, server_default="0"),  # of the events' data, since schema 0002
    Column("source", Text, nullable=False, server_default="API"),
    Column("purpose", Text, nullable=False, server_default="Code"),
    Column("metadata", Text),  # JSON
    Column("opens_pull_request", Boolean, nullable=False, server_default=false()),
    Column("first_step", Integer, nullable=False, server_default="1"),
    Column("max_cost_usd", Double),
    Column("network", Text),  # JSON of a policy; null: the repository's
    Column("validation", Text),  # JSON of rules; null: the repository's
    one_of("status", RunStatus),
    one_of("engine", EngineName),
    CheckConstraint(f"(date_completed IS NOT NULL) = ({either('status', RUN_TERMINAL)})", name="completed"),
    CheckConstraint(
        f"status <> '{RunStatus.RUNNING}' OR (lease > 0 AND date_started IS NOT NULL AND date_runner_ping IS NOT NULL)",
        name="running",
    ),
    CheckConstraint("lease >= 0 AND lost_workers >= 0 AND secrets_version >= 0 AND last_event >= 0", name="counters"),
    sqlite_autoincrement=True,
)
# A list is merged from one of these two a status, each read from its newest end (run_list.py).
Index("runs_by_organization", runs.c.organization_id, runs.c.status, runs.c.id)
Index("runs_by_user", runs.c.organization_id, runs.c.user_id, runs.c.status, runs.c.id)
# Claims, and what sweeps look at: few rows each, however many runs there are.
for _status in (RunStatus.NEW, RunStatus.RUNNING):
    _where = runs.c.status == literal_column(f"'{_status}'")
    Index(f"runs_{_status.lower()}", runs.c.id, sqlite_where=_where, postgresql_where=_where)

#: New, and its work branch is its own: what a worker may take. As the index has it, so that it is found.
IS_CLAIMABLE = and_(runs.c.status == literal_column(f"'{RunStatus.NEW}'"), runs.c.holds_branch)
# The status is a column of both, though it is always the same: or SQLite would rather use runs_by_organization, where
# the runs that wait for their branch lie too.
Index(
    "runs_claimable",
    runs.c.organization_id,
    runs.c.status,
    runs.c.id,
    sqlite_where=IS_CLAIMABLE,
    postgresql_where=IS_CLAIMABLE,
)
#: Which organization was served last: written once a run, by its first claim.
IS_BEGUN = runs.c.date_started.is_not(null())
Index(
    "runs_served",
    runs.c.organization_id,
    runs.c.date_started,
    sqlite_where=IS_BEGUN,
    postgresql_where=IS_BEGUN,
)
#: New, and another run has its work branch.
IS_BLOCKED = and_(runs.c.status == literal_column(f"'{RunStatus.NEW}'"), not_(runs.c.holds_branch))
Index("runs_blocked", runs.c.branch_key, runs.c.id, sqlite_where=IS_BLOCKED, postgresql_where=IS_BLOCKED)
# The newest run on a branch: whom its checks wake, and whose pushes start nothing.
IS_CODE = runs.c.purpose == literal_column(f"'{RunPurpose.CODE}'")
Index("runs_by_branch", runs.c.branch_key, runs.c.id, sqlite_where=IS_CODE, postgresql_where=IS_CODE)
# What an organization made in some days, and what of its has just ended: for the page.
Index("runs_by_date", runs.c.organization_id, runs.c.date_created)
IS_ENDED = runs.c.date_completed.is_not(null())
Index("runs_ended", runs.c.organization_id, runs.c.date_completed, sqlite_where=IS_ENDED, postgresql_where=IS_ENDED)

#: Whose turn it is on a work branch: one living run each. `branch` is a run's `branch_key`.
branch_holders = Table(
    "branch_holders",
    metadata,
    Column("branch", Text, primary_key=True),
    Column("run_uuid", Uuid, nullable=False),
    sqlite_with_rowid=False,
)

#: One row: the oldest schema whose code may work on this one, so that old processes run next to new ones.
schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    Column("oldest", Text, primary_key=True),
)

steps = Table(
    "steps",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("uuid", Uuid, nullable=False),
    Column("text", Text, nullable=False),
    Column("is_commitable", Boolean, nullable=False),
    Column("is_structured", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("phase", Text),
    Column("output", Text),
    Column("structured_output", Text),  # JSON
    Column("failure_details", Text),
    Column("commit_sha", Text),
    Column("date_started", Date),
    Column("date_completed", Date),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_usd", Double, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("is_follow_up", Boolean, nullable=False, server_default=false()),
    Column("file_ids", Text, nullable=False, server_default="[]"),  # JSON: [uuid]
    Column("validation", Text),  # JSON: [result of a command]; null: none was run
    UniqueConstraint("run_id", "uuid"),
    one_of("status", StepStatus),
    one_of("phase", Phase),
    CheckConstraint("position >= 1", name="position"),
    CheckConstraint(f"(date_completed IS NOT NULL) = ({either('status', STEP_TERMINAL)})", name="completed"),
)

#: Numbered by runs.last_event, in the transaction of what they tell of.
events = Table(
    "events",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("type", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Column("date", Date, nullable=False),
    Column("step", Integer),
    Column("phase", Text),
    CheckConstraint("number >= 1", name="number"),
    one_of("phase", Phase),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("step", Integer, nullable=False),
    Column("phase", Text, nullable=False),
    Column("session", Text),
    Column("engine", Text, nullable=False),
    Column("session_blob", Text),
    Column("patch_blob", Text),
    Column("base_sha", Text, nullable=False),
    Column("output", Text),
    Column("structured_output", Text),  # JSON
    Column("is_phase_done", Boolean, nullable=False, server_default=true()),
    Column("size", BigInteger, nullable=False, server_default="0"),  # bytes of both blobs
    one_of("phase", Phase),
    one_of("engine", EngineName),
    ForeignKeyConstraint(["run_id", "step"], ["steps.run_id", "steps.position"]),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("content_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("blob", Text, nullable=False),
    Column("date_created", Date, nullable=False),
)

files = Table(
    "files",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("date_created", Date, nullable=False),
    Index("files_by_organization", "organization_id", "id"),
    Index("files_by_user", "organization_id", "user_id", "id"),
    sqlite_autoincrement=True,
)

run_files = Table(
    "run_files",
    metadata,
    Column("file_uuid", ForeignKey("files.uuid", ondelete="CASCADE"), primary_key=True),
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
)

#: `run_uuid` and not the id: the key is taken before the run has one. The row is there when the transaction ends.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("organization_id", ForeignKey("organizations.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("run_uuid", Uuid, nullable=False),
    Column("date_created", Date, nullable=False, index=True),
)

#: What runs opened at forges.
pull_requests = Table(
    "pull_requests",
    metadata,
    identifier(),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("repository_id", ForeignKey("repositories.id"), nullable=False),
    Column("run_id", ForeignKey("runs.id"), nullable=False),  # the first that had it
    Column("number", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("head_branch", Text, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    UniqueConstraint("repository_id", "number"),
    sqlite_autoincrement=True,
)

#: Which runs list which: one that finds a pull request open on its branch has it too, and does not take it away.
pull_request_runs = Table(
    "pull_request_runs",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("pull_request_id", ForeignKey("pull_requests.id"), primary_key=True),
)

#: Executions of repositories' setup commands.
sandboxes = Table(
    "sandboxes",
    metadata,
    identifier(),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("repository_id", ForeignKey("repositories.id"), nullable=False),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("digest", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("exit_code", Integer),
    Column("log_blob", Text),
    Column("date_created", Date, nullable=False),
    Column("date_completed", Date),
    Index("sandboxes_by_repository", "repository_id", "id"),
    sqlite_autoincrement=True,
)

#: Work branches whose checks wake nobody any more; `branch` is a `branch_key`.
banned_branches = Table(
    "banned_branches",
    metadata,
    Column("branch", Text, primary_key=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("date_created", Date, nullable=False),
)

#: When requests of one caller to one group of routes were let pass, within the rate's seconds.
rates = Table(
    "rates",
    metadata,
    Column("name", Text, primary_key=True),
    Column("passed", Text, nullable=False),  # JSON: [microseconds since 1970], ascending
    Column("date_expires", Date, nullable=False, index=True),
)

#: Runs that an organization with an allowance has made in a month; `month` such as 202611, in UTC.
allowances = Table(
    "allowances",
    metadata,
    Column("organization_id", ForeignKey("organizations.id"), primary_key=True),
    Column("month", Integer, primary_key=True),
    Column("runs", Integer, nullable=False),
)

#: CLIs on people's own machines that report here.
local_sessions = Table(
    "local_sessions",
    metadata,
    identifier(),  # without FIRST_LOCAL_SESSION
    Column("session_id", Text, nullable=False),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("last_log", Integer, nullable=False),
    Column("date_created", Date, nullable=False),
    Column("date_updated", Date, nullable=False),
    UniqueConstraint("organization_id", "session_id"),
    Index("local_sessions_by_user", "organization_id", "user_id", "id"),
    Index("local_sessions_by_organization", "organization_id", "id"),
    sqlite_autoincrement=True,
)

local_session_logs = Table(
    "local_session_logs",
    metadata,
    Column("local_session", ForeignKey("local_sessions.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("data", Text, nullable=False),  # JSON
    Column("date", Date, nullable=False),
)

#: To connect an account elsewhere with a user here: shown once, kept as a hash, good for one use.
connect_tokens = Table(
    "connect_tokens",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("date_expires", Date, nullable=False, index=True),
    Column("date_used", Date),
)

#: Accounts elsewhere, such as at Slack, of users here.
connections = Table(
    "connections",
    metadata,
    Column("organization_id", ForeignKey("organizations.id"), primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("date_created", Date, nullable=False),
)

oauth_providers = Table(
    "oauth_providers",
    metadata,
    identifier(),
    Column("name", Text, nullable=False, unique=True),
    Column("issuer", Text, nullable=False),
    Column("authorization_endpoint", Text, nullable=False),
    Column("token_endpoint", Text, nullable=False),
    Column("default_scopes", Text),  # JSON: [str]
    Column("is_mcp", Boolean, nullable=False),
    Column("meta", Text),  # JSON
    Column("date_created", Date, nullable=False),
    sqlite_autoincrement=True,
)

#: Tokens that users have with providers, sealed; a revoked one keeps its row without the token.
oauth_tokens = Table(
    "oauth_tokens",
    metadata,
    identifier(),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("provider_id", ForeignKey("oauth_providers.id"), nullable=False),
    Column("sealed", Text),
    Column("date_created", Date, nullable=False),
    Column("date_revoked", Date),
    Index("oauth_tokens_by_user", "organization_id", "user_id", "provider_id"),
    sqlite_autoincrement=True,
)

#: Who is signed in at the page; the cookie's token is kept as a hash.
page_sessions = Table(
    "page_sessions",
    metadata,
    identifier(),
    Column("digest", Text, nullable=False, unique=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("api_key_id", ForeignKey("api_keys.id")),  # signed in with it: revoked with it; null: otherwise
    Column("agent", Text, nullable=False),  # the browser, as it calls itself
    Column("date_created", Date, nullable=False),
    Column("date_seen", Date, nullable=False),
    Column("date_expires", Date, nullable=False, index=True),
    Column("date_revoked", Date),
    Index("page_sessions_by_user", "user_id", "id"),
    sqlite_autoincrement=True,
)

#: Users as another service signs them in: OIDC's issuer and subject.
identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("date_created", Date, nullable=False),
)

#: Links to one run, to read without signing in.
share_links = Table(
    "share_links",
    metadata,
    identifier(),
    Column("digest", Text, nullable=False, unique=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("date_created", Date, nullable=False),
    Column("date_expires", Date, nullable=False),
    Column("date_revoked", Date),
    sqlite_autoincrement=True,
)

#: Workers as they last said; one that has said nothing for long is gone.
workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("sandbox", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("date_started", Date, nullable=False),
    Column("date_seen", Date, nullable=False, index=True),
)

#: What model time cost, counted in the transaction that adds it to a step: by the month (UTC, `2026-11`) of the answer.
monthly_costs = Table(
    "monthly_costs",
    metadata,
    Column("organization_id", ForeignKey("organizations.id"), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_usd", Double, nullable=False),
)

#: Who did what. Rows are only ever added: triggers refuse to change or remove one.
audit = Table(
    "audit",
    metadata,
    identifier(),
    Column("organization_id", ForeignKey("organizations.id")),  # null: the whole service
    Column("user_id", ForeignKey("users.id")),  # null: nobody who is known, or the operator at the machine
    Column("actor", Text, nullable=False),  # as it was called then: an e-mail address, "operator"
    Column("action", Text, nullable=False),
    Column("target", Text),
    Column("detail", Text),  # JSON; never a secret
    Column("door", Text, nullable=False),  # api, page, cli, service
    Column("address", Text),  # of the client
    Column("date", Date, nullable=False),
    Index("audit_by_organization", "organization_id", "id"),
    sqlite_autoincrement=True,
)

"""What the page needs: sessions, passwords, other services' users, links to share, what workers say of themselves.

Code of 0001 to 0003 goes on working on this schema: all of it is new. The two indexes of runs take a fraction of a
second for a hundred thousand of them.
"""

import sqlalchemy as sa
from alembic import op

from treadle.store.migrations.columns import BIG_ID, identifier, owned, table, text, whole

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("password", sa.Text))
    op.create_index("runs_by_date", "runs", ["organization_id", "date_created"])
    ended = sa.text("date_completed IS NOT NULL")
    op.create_index(
        "runs_ended", "runs", ["organization_id", "date_completed"], sqlite_where=ended, postgresql_where=ended
    )
    table(
        "page_sessions",
        identifier(),
        text("digest"),
        *owned("organization_id", "user_id"),
        sa.Column("api_key_id", BIG_ID),
        text("agent"),
        whole("date_created"),
        whole("date_seen"),
        whole("date_expires"),
        sa.Column("date_revoked", sa.BigInteger),
        sa.UniqueConstraint("digest", name="page_sessions_digest_key"),
        indexes=["date_expires"],
    )
    op.create_index("page_sessions_by_user", "page_sessions", ["user_id", "id"])
    table(
        "identities",
        text("issuer"),
        text("subject"),
        *owned("user_id"),
        whole("date_created"),
        key=["issuer", "subject"],
        indexes=["user_id"],
    )
    table(
        "share_links",
        identifier(),
        text("digest"),
        *owned("run_id", "user_id"),
        whole("date_created"),
        whole("date_expires"),
        sa.Column("date_revoked", sa.BigInteger),
        sa.UniqueConstraint("digest", name="share_links_digest_key"),
        indexes=["run_id"],
    )
    table(
        "workers",
        text("name"),
        text("version"),
        text("sandbox"),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("is_paused", sa.Boolean, nullable=False),
        whole("date_started"),
        whole("date_seen"),
        key=["name"],
        indexes=["date_seen"],
    )

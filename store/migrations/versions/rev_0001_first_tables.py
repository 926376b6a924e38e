"""Labels, API keys, audit and erasures."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    _create_labels()
    op.create_table(
        "api_keys",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
        sa.UniqueConstraint("secret_sha256", name="uq_api_keys_secret_sha256"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("details", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_subject", "audit_entries", ["subject"])
    op.create_index("ix_audit_entries_at_us", "audit_entries", ["at_us"])
    op.create_table(
        "erasures",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("requested_at_us", sa.BigInteger, nullable=False),
        sa.Column("completed_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("user_id", name="pk_erasures"),
    )


def _create_labels() -> None:
    op.create_table(
        "labels",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("label", sa.SmallInteger),
        sa.Column("policy", sa.Text),
        sa.Column("group", sa.Text),
        sa.Column("occurred_at_us", sa.BigInteger),
        sa.Column("known_at_us", sa.BigInteger),
        sa.Column("revoked_at_us", sa.BigInteger),
        sa.Column("source", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("extra", sa.Text),
        sa.Column("recorded_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_labels"),
        sa.UniqueConstraint("content_sha256", name="uq_labels_content_sha256"),
    )
    op.create_index("ix_labels_user_id", "labels", ["user_id"])
    op.create_index("ix_labels_known_at_us", "labels", ["known_at_us"])
    op.create_table(
        "label_files",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("ingested_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_label_files"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("erasures", "audit_entries", "api_keys", "label_files", "labels"):
        op.drop_table(table)

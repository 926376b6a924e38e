"""Indexes that find the labels that changed since a time."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_labels_recorded_at_us", "labels", ["recorded_at_us"])
    op.create_index("ix_labels_revoked_at_us", "labels", ["revoked_at_us"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_labels_revoked_at_us", "labels")
    op.drop_index("ix_labels_recorded_at_us", "labels")

"""Jobs about other objects than structure sets, and people's decisions about plans."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("plans", sa.Column("frame_of_reference_uid", sa.Text(), nullable=True))
    op.add_column("plan_documents", sa.Column("inputs", sa.Text(), nullable=True))
    op.add_column("plan_documents", sa.Column("approvals", sa.Text(), nullable=True))
    op.add_column("arrivals", sa.Column("kind", sa.Text(), nullable=False, server_default="rtstruct"))
    op.add_column("arrivals", sa.Column("waits_for", sa.Text(), nullable=True))
    op.add_column("arrivals", sa.Column("waits_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for column in ("waits_until", "waits_for", "kind"):
        op.drop_column("arrivals", column)
    for column in ("approvals", "inputs"):
        op.drop_column("plan_documents", column)
    op.drop_column("plans", "frame_of_reference_uid")

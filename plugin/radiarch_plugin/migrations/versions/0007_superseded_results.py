"""What became of the stored results of a superseded plan."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("plans", sa.Column("superseded_results", sa.Text(), nullable=True))
    op.create_index("ix_plans_superseded_at", "plans", ["superseded_at"])


def downgrade() -> None:
    op.drop_index("ix_plans_superseded_at", table_name="plans")
    op.drop_column("plans", "superseded_results")

"""Which images are missing, not only how many."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("waits", sa.Column("missing_uids", sa.Text(), nullable=True))
    op.add_column("arrivals", sa.Column("missing_uids", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("arrivals", "missing_uids")
    op.drop_column("waits", "missing_uids")

"""Where the structure set says that a plan's images are, and in which of Orthanc's series they were found."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0007"
branch_labels = None
depends_on = None

BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("waits", sa.Column("image_study_uid", sa.Text(), nullable=False, server_default=""))
    op.add_column("waits", sa.Column("image_series_uid", sa.Text(), nullable=False, server_default=""))
    op.add_column("plans", sa.Column("image_series", sa.Text(), nullable=True))
    op.add_column("plans", sa.Column("image_count", BIGINT, nullable=True))
    op.create_index("ix_plans_image_series", "plans", ["image_series"])


def downgrade() -> None:
    op.drop_index("ix_plans_image_series", "plans")
    op.drop_column("plans", "image_count")
    op.drop_column("plans", "image_series")
    op.drop_column("waits", "image_series_uid")
    op.drop_column("waits", "image_study_uid")

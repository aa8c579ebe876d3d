"""Measurements on images, each with its former versions."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    texts = ("id", "patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid")
    op.create_table(
        "measurements",
        sa.Column("seq", BIGINT, sa.Identity(always=False), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("frame_of_reference_uid", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("version", BIGINT, nullable=False),
        sa.Column("current", sa.Text(), nullable=False),
        sa.Column("former", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_measurements_study", "measurements", ["study_instance_uid", "patient_id", "seq"], unique=False)


def downgrade() -> None:
    op.drop_table("measurements")

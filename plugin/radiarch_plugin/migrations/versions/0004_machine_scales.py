"""What checks have told of machines' meterset scales."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0006"
branch_labels = None
depends_on = None


BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "machine_scales",
        sa.Column("seq", BIGINT, sa.Identity(always=False), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("rtplan_sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("machine_sha256", sa.Text(), nullable=False),
        sa.Column("calibration_sha256", sa.Text(), nullable=False),
        sa.Column("scale", sa.Double(), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("confirmed_at", UTC, nullable=True),
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("created_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("plan_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_machine_scales_machine", "machine_scales", ["machine", "seq"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_machine_scales_machine", table_name="machine_scales")
    op.drop_table("machine_scales")

"""Times at which something is due by the wall clock, which may be set, are gone: how long it waits is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("plans", sa.Column("unclean", sa.Boolean(), nullable=False, server_default=sa.false()))
    plans = sa.table("plans", sa.column("unclean", sa.Boolean()), sa.column("cleanup_until", sa.DateTime()))
    op.execute(plans.update().where(plans.c.cleanup_until.is_not(None)).values(unclean=sa.true()))
    op.drop_index("ix_plans_cleanup_until", "plans")
    op.drop_column("plans", "cleanup_until")
    op.drop_column("plans", "not_before")
    op.create_index("ix_plans_unclean", "plans", ["unclean"])
    op.add_column("arrivals", sa.Column("awaits_dose", sa.Boolean(), nullable=False, server_default=sa.false()))
    arrivals = sa.table("arrivals", sa.column("awaits_dose", sa.Boolean()), sa.column("waits_until", sa.DateTime()))
    op.execute(arrivals.update().where(arrivals.c.waits_until.is_not(None)).values(awaits_dose=sa.true()))
    op.drop_column("arrivals", "waits_until")


def downgrade() -> None:
    op.add_column("arrivals", sa.Column("waits_until", sa.DateTime(timezone=True), nullable=True))
    op.drop_column("arrivals", "awaits_dose")
    op.drop_index("ix_plans_unclean", "plans")
    op.add_column("plans", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
    op.add_column("plans", sa.Column("cleanup_until", sa.DateTime(timezone=True), nullable=True))
    op.drop_column("plans", "unclean")
    op.create_index("ix_plans_cleanup_until", "plans", ["cleanup_until"])

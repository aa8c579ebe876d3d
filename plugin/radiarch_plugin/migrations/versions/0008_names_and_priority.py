"""Patients' names, and which of the queued plans are taken first.

Names of what is stored are asked of Orthanc when the service starts (`intake.names`): the database never had them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0004"
branch_labels = None
depends_on = None


def _apart(text: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """The parts of names and labels as words, as `paging.searched` has them."""
    for mark in "^=,":
        text = sa.func.replace(text, mark, " ")
    return text


def upgrade() -> None:
    op.add_column("plans", sa.Column("patient_name", sa.Text(), nullable=True))
    op.add_column("arrivals", sa.Column("patient_name", sa.Text(), nullable=True))
    op.add_column("arrivals", sa.Column("search", sa.Text(), nullable=False, server_default=""))
    op.add_column("plans", sa.Column("priority", sa.Text(), nullable=False, server_default="batch"))
    op.execute("UPDATE plans SET priority = 'interactive' WHERE origin = 'request'")
    plans = sa.table("plans", sa.column("search"))
    op.execute(sa.update(plans).values(search=_apart(plans.c.search)))
    texts = ("patient_id", "sop_instance_uid", "study_instance_uid", "protocol_id", "calling_ae")
    arrivals = sa.table("arrivals", sa.column("search"), *(sa.column(name, sa.Text) for name in texts))
    joined: sa.ColumnElement[str] = sa.literal("", sa.Text)
    for name in texts:
        joined = joined + sa.func.coalesce(arrivals.c[name], "") + " "
    op.execute(sa.update(arrivals).values(search=_apart(sa.func.lower(joined))))
    op.create_index("ix_plans_queue", "plans", ["state", "priority", "seq"])
    op.create_index("ix_arrivals_first_seen_at", "arrivals", ["first_seen_at", "seq"])


def downgrade() -> None:
    op.drop_index("ix_arrivals_first_seen_at", table_name="arrivals")
    op.drop_index("ix_plans_queue", table_name="plans")
    op.drop_column("plans", "priority")
    op.drop_column("arrivals", "search")
    op.drop_column("arrivals", "patient_name")
    op.drop_column("plans", "patient_name")

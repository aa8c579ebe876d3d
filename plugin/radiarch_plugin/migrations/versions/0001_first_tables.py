"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "arrivals",
        sa.Column("seq", BIGINT, sa.Identity(always=False), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("orthanc_id", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("calling_ae", sa.Text(), nullable=True),
        sa.Column("structures", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("protocol_id", sa.Text(), nullable=True),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("referenced_count", BIGINT, nullable=False),
        sa.Column("missing_count", BIGINT, nullable=False),
        sa.Column("contents", BIGINT, nullable=False),
        sa.Column("first_seen_at", UTC, nullable=False),
        sa.Column("updated_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("sop_instance_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_arrivals_patient_id", "arrivals", ["patient_id", "seq"], unique=False)
    op.create_index("ix_arrivals_plan_id", "arrivals", ["plan_id"], unique=False)
    op.create_index("ix_arrivals_state", "arrivals", ["state", "seq"], unique=False)
    op.create_index("ix_arrivals_study_instance_uid", "arrivals", ["study_instance_uid", "seq"], unique=False)
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "plans",
        sa.Column("seq", BIGINT, sa.Identity(always=False), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("eta_s", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("protocol_id", sa.Text(), nullable=True),
        sa.Column("protocol_sha256", sa.Text(), nullable=True),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("rtstruct_sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("rtstruct_sha256", sa.Text(), nullable=False),
        sa.Column("plan_label", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("supersedes", sa.Text(), nullable=True),
        sa.Column("superseded_by", sa.Text(), nullable=True),
        sa.Column("superseded_at", UTC, nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_sha256", sa.Text(), nullable=True),
        sa.Column("attempt", BIGINT, nullable=False),
        sa.Column("failures", BIGINT, nullable=False),
        sa.Column("enqueued", sa.Boolean(), nullable=False),
        sa.Column("not_before", UTC, nullable=True),
        sa.Column("time_limit_s", sa.Double(), nullable=False),
        sa.Column("missing_count", BIGINT, nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("log_lines", BIGINT, nullable=False),
        sa.Column("log_run", sa.Text(), nullable=False),
        sa.Column("log_taken", BIGINT, nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("updated_at", UTC, nullable=False),
        sa.Column("queued_at", UTC, nullable=True),
        sa.Column("started_at", UTC, nullable=True),
        sa.Column("ended_at", UTC, nullable=True),
        sa.Column("stopped_at", UTC, nullable=True),
        sa.Column("cleanup_until", UTC, nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_plans_cleanup_until", "plans", ["cleanup_until"], unique=False)
    op.create_index("ix_plans_created_at", "plans", ["created_at", "seq"], unique=False)
    op.create_index("ix_plans_patient_id", "plans", ["patient_id", "seq"], unique=False)
    op.create_index("ix_plans_protocol_id", "plans", ["protocol_id", "seq"], unique=False)
    op.create_index("ix_plans_rtstruct_sop_instance_uid", "plans", ["rtstruct_sop_instance_uid", "seq"], unique=False)
    op.create_index("ix_plans_search", "plans", ["search"], unique=False)
    op.create_index("ix_plans_state", "plans", ["state", "seq"], unique=False)
    op.create_index("ix_plans_study_instance_uid", "plans", ["study_instance_uid", "seq"], unique=False)
    op.create_index("ix_plans_updated_at", "plans", ["updated_at", "seq"], unique=False)
    op.create_index("ix_plans_workflow_id", "plans", ["workflow_id", "seq"], unique=False)
    op.create_table(
        "arrival_contents",
        sa.Column("id", BIGINT, sa.Identity(always=False), nullable=False),
        sa.Column("arrival_seq", BIGINT, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("orthanc_id", sa.Text(), nullable=False),
        sa.Column("seen_at", UTC, nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["arrival_seq"], ["arrivals.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_arrival_contents_arrival_seq"), "arrival_contents", ["arrival_seq"], unique=False)
    op.create_table(
        "events",
        sa.Column("cursor", BIGINT, sa.Identity(always=False), nullable=False),
        sa.Column("plan_seq", BIGINT, nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["plan_seq"], ["plans.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cursor"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_plan", "events", ["plan_seq", "cursor"], unique=False)
    op.create_table(
        "log_chunks",
        sa.Column("plan_seq", BIGINT, nullable=False),
        sa.Column("first_line", BIGINT, autoincrement=False, nullable=False),
        sa.Column("line_count", BIGINT, nullable=False),
        sa.Column("attempt", BIGINT, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["plan_seq"], ["plans.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("plan_seq", "first_line"),
    )
    op.create_table(
        "outputs",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("plan_seq", BIGINT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=True),
        sa.Column("orthanc_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["plan_seq"], ["plans.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
    )
    op.create_index(op.f("ix_outputs_plan_seq"), "outputs", ["plan_seq"], unique=False)
    op.create_table(
        "plan_documents",
        sa.Column("plan_seq", BIGINT, nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("prescription", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("structures", sa.Text(), nullable=False),
        sa.Column("missing_structures", sa.Text(), nullable=False),
        sa.Column("goals", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("solver", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("curves", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["plan_seq"], ["plans.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("plan_seq"),
    )
    op.create_table(
        "waits",
        sa.Column("plan_seq", BIGINT, nullable=False),
        sa.Column("image_uids", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["plan_seq"], ["plans.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("plan_seq"),
    )


def downgrade() -> None:
    for table in (
        "waits",
        "plan_documents",
        "outputs",
        "log_chunks",
        "events",
        "arrival_contents",
        "plans",
        "meta",
        "arrivals",
    ):
        op.drop_table(table)

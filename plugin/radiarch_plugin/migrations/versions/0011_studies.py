"""Studies and series of Orthanc's index, so that they are listed and searched without asking it for all."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("seq", BIGINT, sa.Identity(always=False), nullable=False),
        _text("orthanc_id"),
        _text("patient_id"),
        _text("patient_name"),
        _text("patient_birth_date"),
        _text("patient_sex"),
        _text("study_instance_uid"),
        _text("study_date"),
        _text("study_time"),
        _text("description"),
        _text("accession_number"),
        _text("modalities"),
        sa.Column("series_count", BIGINT, nullable=False),
        _text("search"),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("orthanc_id"),
        sqlite_autoincrement=True,
    )
    for column in ("study_date", "patient_id", "patient_name", "study_instance_uid"):
        op.create_index(f"ix_studies_{column}", "studies", [column, "seq"], unique=False)
    op.create_table(
        "study_series",
        _text("orthanc_id"),
        sa.Column("study_seq", BIGINT, nullable=False),
        _text("series_instance_uid"),
        _text("modality"),
        sa.ForeignKeyConstraint(["study_seq"], ["studies.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("orthanc_id"),
    )
    op.create_index("ix_study_series_study_seq", "study_series", ["study_seq"], unique=False)
    op.create_index("ix_study_series_series_instance_uid", "study_series", ["series_instance_uid"], unique=False)
    op.create_index("ix_outputs_series_instance_uid", "outputs", ["series_instance_uid"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_outputs_series_instance_uid", table_name="outputs")
    op.drop_table("study_series")
    op.drop_table("studies")

"""A record of an arrival for each patient and study: copies under one SOP Instance UID are other objects."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ONE = ("arrivals_sop_instance_uid_key", ["sop_instance_uid"])
_EACH = ("uq_arrivals_object", ["sop_instance_uid", "patient_id", "study_instance_uid"])


def upgrade() -> None:
    _replace(_ONE, _EACH)
    _part()


def _replace(old: tuple[str, list[str]], new: tuple[str, list[str]]) -> None:
    """One unique constraint by another; SQLite cannot, and gets a new table."""
    names = {"uq": "%(table_name)s_%(column_0_name)s_key"}  # as PostgreSQL calls one without a name
    with op.batch_alter_table(
        "arrivals", naming_convention=names, table_kwargs={"sqlite_autoincrement": True}
    ) as batch:
        batch.drop_constraint(old[0], type_="unique")
        batch.create_unique_constraint(*new)


def _part() -> None:
    """Contents that led to plans of another patient or study than their record's get a record of their own."""
    bind = op.get_bind()
    meta = sa.MetaData()
    arrivals, contents, plans = (
        sa.Table(name, meta, autoload_with=bind) for name in ("arrivals", "arrival_contents", "plans")
    )
    query = (
        sa.select(contents, plans.c.patient_id, plans.c.study_instance_uid, plans.c.patient_name)
        .add_columns(plans.c.protocol_id, plans.c.state.label("plan_state"), plans.c.missing_count)
        .join(plans, plans.c.id == contents.c.plan_id)
        .join(arrivals, arrivals.c.seq == contents.c.arrival_seq)
        .where(arrivals.c.study_instance_uid != "")
        .where(
            sa.or_(
                plans.c.patient_id != arrivals.c.patient_id,
                plans.c.study_instance_uid != arrivals.c.study_instance_uid,
            )
        )
        .order_by(contents.c.id)
    )
    of_owner: dict[tuple[int, str, str], list[Any]] = {}
    for content in bind.execute(query):
        owner = (content.arrival_seq, content.patient_id, content.study_instance_uid)
        of_owner.setdefault(owner, []).append(content)
    for (seq, patient_id, study_uid), found in of_owner.items():
        record = bind.execute(sa.select(arrivals).where(arrivals.c.seq == seq)).one()
        last = found[-1]
        values = {
            "sop_instance_uid": record.sop_instance_uid,
            "kind": record.kind,
            "patient_id": patient_id,
            "patient_name": last.patient_name,
            "study_instance_uid": study_uid,
            "series_instance_uid": "",
            "orthanc_id": last.orthanc_id,
            "sha256": last.sha256,
            "structures": "[]",
            "state": "waiting" if last.plan_state == "waiting" else "planned",
            "protocol_id": last.protocol_id,
            "plan_id": last.plan_id,
            "referenced_count": 0,
            "missing_count": last.missing_count,
            "awaits_dose": False,
            "contents": len(found),
            "first_seen_at": found[0].seen_at,
            "updated_at": last.seen_at,
            "search": f"{patient_id} {record.sop_instance_uid} {study_uid} {last.protocol_id or ''}".lower(),
        }
        new_seq = bind.execute(sa.insert(arrivals).values(values).returning(arrivals.c.seq)).scalar_one()
        moved = [c.id for c in found]
        bind.execute(sa.update(contents).where(contents.c.id.in_(moved)).values(arrival_seq=new_seq))
        left = record.contents - len(found)
        bind.execute(sa.update(arrivals).where(arrivals.c.seq == seq).values(contents=max(1, left)))


def downgrade() -> None:
    op.execute("DELETE FROM arrivals WHERE seq NOT IN (SELECT max(seq) FROM arrivals GROUP BY sop_instance_uid)")
    _replace(_EACH, _ONE)

"""What lists show of a result, beside it: counts of goals, and the outcome of a check."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

DOCUMENTS = sa.table("plan_documents", sa.column("plan_seq"), sa.column("brief"), sa.column("result"))


def _brief(result: str) -> str:
    found = json.loads(result)
    states = [goal["status"] or "unjudged" for goal in found.get("goals") or []]
    counts = {name: states.count(name) for name in ("met", "near", "missed", "unjudged")}
    outcome = (found.get("verdict") or {}).get("result")
    return json.dumps({"goal_counts": counts if states else None, "outcome": outcome}, separators=(",", ":"))


def upgrade() -> None:
    op.add_column("plan_documents", sa.Column("brief", sa.Text(), nullable=True))
    connection = op.get_bind()
    seqs = sa.select(DOCUMENTS.c.plan_seq).where(DOCUMENTS.c.result.is_not(None))
    # one after the other: all results together may be larger than the memory
    for seq in connection.execute(seqs).scalars().all():
        this = DOCUMENTS.c.plan_seq == seq
        result = connection.execute(sa.select(DOCUMENTS.c.result).where(this)).scalar_one()
        connection.execute(sa.update(DOCUMENTS).where(this).values(brief=_brief(result)))


def downgrade() -> None:
    op.drop_column("plan_documents", "brief")

"""What has changed in any plan since a moment, for pages that stay open; nothing is changed from here."""

from __future__ import annotations

from sqlalchemy import func, select

from .database import Database
from .tables import ArrivalContentRow, EventRow, PlanRow
from .views import ChangesView


class Changes:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def position(self) -> tuple[int, int]:
        """The newest event, and the newest content of an arrival: two seeks in primary keys."""
        with self._database.read() as session:
            found = session.execute(
                select(
                    select(func.max(EventRow.cursor)).scalar_subquery(),
                    select(func.max(ArrivalContentRow.id)).scalar_subquery(),
                )
            ).one()
        return found[0] or 0, found[1] or 0

    def since(self, cursor: int, *, limit: int = 100) -> ChangesView:
        """Ids of the plans that something happened to after ``cursor``.

        With more than ``limit`` of them, or a cursor that is not of this database, ``complete`` is False: whoever asks
        has to look at everything anew. On PostgreSQL an event may become visible after a later one and be missed here:
        pages also look at everything from time to time.
        """
        newest, arrivals = self.position()
        if cursor == newest:
            return ChangesView(next=newest, arrivals=arrivals, complete=True)
        if cursor > newest:
            return ChangesView(next=newest, arrivals=arrivals, complete=False)
        changed = select(EventRow.plan_seq).where(EventRow.cursor > cursor, EventRow.cursor <= newest).distinct()
        with self._database.read() as session:
            seqs = session.scalars(changed.limit(limit + 1)).all()
            if len(seqs) > limit:
                return ChangesView(next=newest, arrivals=arrivals, complete=False)
            ids = session.scalars(select(PlanRow.id).where(PlanRow.seq.in_(seqs))).all()
        return ChangesView(next=newest, arrivals=arrivals, complete=True, plan_ids=tuple(ids))

"""Events and log lines of plans, and single facts about the plugin itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.states import PlanState
from sqlalchemy import select
from sqlalchemy.orm import Session

from .convert import clean, dumps, event_view
from .database import Database
from .lifecycle import lock_plan, unknown_plan
from .tables import EventRow, LogChunkRow, MetaRow, PlanRow
from .views import EventPage, LogPage, LogPosition

MAX_EVENTS = 1_000
MAX_LINES = 5_000
MAX_LINE_CHARS = 4_000
MAX_PLAN_LINES = 200_000
_TOO_LONG = "[the log ends here: a plan keeps at most 200,000 lines]"
_BIGGEST = 1 << 62


class Journal:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def events_since(self, plan_id: str, cursor: int = 0, *, limit: int = MAX_EVENTS) -> EventPage:
        """Events after ``cursor``, oldest first. Raises `NotFoundError`, `InvalidRequestError`."""
        _check("since", cursor)
        with self._database.read() as session:
            row = _plan(session, plan_id)
            rows = session.scalars(
                select(EventRow)
                .where(EventRow.plan_seq == row.seq, EventRow.cursor > cursor)
                .order_by(EventRow.cursor)
                .limit(min(max(limit, 1), MAX_EVENTS))
            ).all()
        return EventPage(items=tuple(map(event_view, rows)), next=rows[-1].cursor if rows else cursor)

    def log_since(self, plan_id: str, line: int = 0, *, limit: int = MAX_LINES) -> LogPage:
        """Log lines from number ``line`` on. Raises `NotFoundError`, `InvalidRequestError`."""
        _check("offset", line)
        limit = min(max(limit, 1), MAX_LINES)
        with self._database.read() as session:
            row = _plan(session, plan_id)
            chunks = session.scalars(
                select(LogChunkRow)
                .where(LogChunkRow.plan_seq == row.seq, LogChunkRow.first_line + LogChunkRow.line_count > line)
                .order_by(LogChunkRow.first_line)
                .limit(limit)  # each has a line at least
            ).all()
        lines: list[str] = []
        for chunk in chunks:
            lines += chunk.text.split("\n")[max(line - chunk.first_line, 0) :]
            if len(lines) >= limit:
                break
        del lines[limit:]
        end = line + len(lines)
        # a cancelled plan's worker has its last words after the end
        stopped = not row.unclean or row.stopped_at is not None
        complete = PlanState(row.state).ended and stopped and end >= row.log_lines
        return LogPage(lines=tuple(lines), next=end, complete=complete)

    def append_log(self, plan_id: str, attempt: int, position: LogPosition, lines: Sequence[str]) -> LogPosition:
        """Add lines as the worker wrote them; beyond `MAX_PLAN_LINES` they are dropped, and the log says so.

        Parameters
        ----------
        position
            Where in the attempt's log the lines begin.

        Returns
        -------
        LogPosition
            Where they end, kept in the same transaction: nothing is taken twice, or not at all.
        """
        if not lines:
            return position
        after = LogPosition(run=position.run, taken=position.taken + len(lines))
        with self._database.write() as session:
            row = lock_plan(session, plan_id)
            if row.attempt != attempt:
                return after
            row.log_run, row.log_taken = after.run, after.taken
            room = MAX_PLAN_LINES - row.log_lines
            if room <= 0:
                return after
            kept = [clean(line, MAX_LINE_CHARS).replace("\n", " ").replace("\r", " ") for line in lines[:room]]
            if len(lines) >= room:
                kept[-1] = _TOO_LONG
            session.add(
                LogChunkRow(
                    plan_seq=row.seq,
                    first_line=row.log_lines,
                    line_count=len(kept),
                    attempt=attempt,
                    text="\n".join(kept),
                )
            )
            row.log_lines += len(kept)
        return after

    def get_fact(self, key: str) -> Any:
        """A fact that was kept with `set_fact`; None where there is none."""
        with self._database.read() as session:
            found = session.scalar(select(MetaRow.value).where(MetaRow.key == key))
        return None if found is None else json.loads(found)

    def set_fact(self, key: str, value: Any) -> None:
        with self._database.write() as session:
            session.merge(MetaRow(key=key, value=dumps(value)))


def _plan(session: Session, plan_id: str) -> PlanRow:
    row = session.scalar(select(PlanRow).where(PlanRow.id == plan_id))
    if row is None:
        raise unknown_plan(plan_id)
    return row


def _check(name: str, value: int) -> None:
    if not 0 <= value <= _BIGGEST:
        raise InvalidRequestError(
            f"{name} is {value}, expected 0 or more", remedy="Give the 'next' of the last answer."
        )

"""Patients' names of plans and arrivals that were stored by a version that did not keep them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select, union

from .convert import clean_name
from .database import Database
from .tables import ArrivalRow, PlanRow

Owner = tuple[str, str]
"""Patient ID and Study Instance UID."""


class Names:
    """All methods are safe in any thread; each is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unknown(self) -> list[Owner]:
        """Whose names are not known."""
        query = union(
            *(
                select(table.patient_id, table.study_instance_uid).where(
                    table.patient_name.is_(None), table.study_instance_uid != ""
                )
                for table in (PlanRow, ArrivalRow)
            )
        )
        with self._database.read() as session:
            return [(patient_id, study_uid) for patient_id, study_uid in session.execute(query)]

    def fill(self, names: Mapping[Owner, str]) -> int:
        """Keep names where there is none yet; how many plans and arrivals got one."""
        filled = 0
        with self._database.write() as session:
            for (patient_id, study_uid), name in names.items():
                of_owner = {"patient_id": patient_id, "study_instance_uid": study_uid, "patient_name": None}
                rows: list[PlanRow | ArrivalRow] = [
                    *session.scalars(select(PlanRow).filter_by(**of_owner)),
                    *session.scalars(select(ArrivalRow).filter_by(**of_owner)),
                ]
                for row in rows:
                    row.patient_name = clean_name(name)
                filled += len(rows)
        return filled

"""``/arrivals``: every RTSTRUCT that was seen, and what became of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from radiarch_contract.run import taken

from radiarch_plugin.services import ServicesDep
from radiarch_plugin.store import ArrivalFilter, ArrivalView
from radiarch_plugin.web.answers import ArrivalAnswer, Page

from .ids import known_uid
from .queries import ArrivalQuery, CopyQuery

router = APIRouter(prefix="/arrivals", tags=["arrivals"])


@router.get("")
def list_arrivals(services: ServicesDep, query: Annotated[ArrivalQuery, Query()]) -> Page[ArrivalAnswer]:
    """Newest first; ``error`` says why one was not planned."""
    where = ArrivalFilter(
        states=query.state,
        patient_id=query.patient_id,
        study_instance_uid=query.study_uid,
        sop_instance_uid=query.rtstruct_uid,
        seen_from=query.created_from,
        seen_to=query.created_to,
        q=query.q,
    )
    page = services.store.arrivals.page(where, cursor=query.cursor, limit=query.limit)
    return Page(items=tuple(map(_answer, page.items)), next=page.next)


@router.get("/{sop_instance_uid}")
def get(sop_instance_uid: str, services: ServicesDep, query: Annotated[CopyQuery, Query()]) -> ArrivalAnswer:
    """One RTSTRUCT by its SOP Instance UID; where patients or studies have copies under it, the one that came last."""
    owner = {"patient_id": query.patient_id, "study_instance_uid": query.study_uid}
    return _answer(services.store.arrivals.get(known_uid(sop_instance_uid), **owner))


def _answer(arrival: ArrivalView) -> ArrivalAnswer:
    return taken(
        ArrivalAnswer,
        arrival,
        id=arrival.sop_instance_uid,
        referenced_instances=arrival.referenced_count,
        missing_instances=arrival.missing_count,
        missing_sop_instance_uids=arrival.missing_uids,
    )

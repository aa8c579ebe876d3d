"""``/structure-sets``: RTSTRUCTs in Orthanc, as the form for a new plan shows them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from radiarch_contract.errors import ErrorInfo, RadiarchError
from radiarch_contract.images import Located
from radiarch_contract.structure_colors import as_hex, structure_colors
from radiarch_contract.structures import spelled

from radiarch_plugin.dicom.images import Search
from radiarch_plugin.dicom.rtstruct import RtstructFacts, read_rtstruct, require_plannable
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.protocols.matching import Matched, Refusal, match, try_each
from radiarch_plugin.services import ProtocolsDep, ServicesDep
from radiarch_plugin.store import MAX_MISSING
from radiarch_plugin.web.answers import (
    MatchAnswer,
    MatchesAnswer,
    Page,
    RoiAnswer,
    StructureSetAnswer,
    StructureSetSummary,
)

from .ids import known_uid

router = APIRouter(prefix="/structure-sets", tags=["plans"])


@router.get("")
def list_of_study(
    services: ServicesDep,
    study_uid: Annotated[str, Query(pattern=r"^[0-9.]{1,64}$", description="Study Instance UID.")],
) -> Page[StructureSetSummary]:
    """The RTSTRUCTs of a study, as Orthanc has indexed them."""
    found = services.orthanc.find_structure_sets(study_uid)
    return Page(items=tuple(StructureSetSummary(**item) for item in found))


@router.get("/{sop_instance_uid}")
def get(sop_instance_uid: str, services: ServicesDep) -> StructureSetAnswer:
    """One RTSTRUCT: its structures, whether its images are here, and why no plan can be made if none can."""
    orthanc_id, facts = _read(sop_instance_uid, services.orthanc)
    problem = _problem(facts)
    search = Search.of(facts)
    located = search.look(services.orthanc)
    if problem is None and not located.missing:
        problem = _which(search, located, services.orthanc)
    colors = structure_colors(
        {roi.number: roi.display_color for roi in facts.rois},
        outlines=[roi.number for roi in facts.rois if roi.interpreted_type == "EXTERNAL"],
    )
    return StructureSetAnswer(
        sop_instance_uid=facts.sop_instance_uid,
        orthanc_id=orthanc_id,
        patient_id=facts.patient_id,
        patient_name=facts.patient_name,
        study_instance_uid=facts.study_instance_uid,
        label=facts.structure_set_label,
        structures=tuple(RoiAnswer(**roi.model_dump(), color=as_hex(colors[roi.number])) for roi in facts.rois),
        repeated_names=_repeated(facts),
        referenced_instances=located.wanted,
        missing_instances=len(located.missing),
        missing_sop_instance_uids=located.missing[:MAX_MISSING],
        problem=problem,
    )


@router.get("/{sop_instance_uid}/matches")
def matches(sop_instance_uid: str, services: ServicesDep, protocols: ProtocolsDep) -> MatchesAnswer:
    """What would become of this RTSTRUCT if it arrived now: each protocol, whether it fits and if not, why."""
    _, facts = _read(sop_instance_uid, services.orthanc)
    problem = _problem(facts)
    taken = match(protocols, facts)
    return MatchesAnswer(
        sop_instance_uid=facts.sop_instance_uid,
        chosen=taken.protocol.id if problem is None and isinstance(taken, Matched) else None,
        problem=problem,
        protocols=tuple(map(_match, try_each(protocols, facts))),
    )


def _read(sop_instance_uid: str, orthanc: OrthancClient) -> tuple[str, RtstructFacts]:
    orthanc_id = orthanc.find_instance(known_uid(sop_instance_uid))
    metadata = orthanc.instance_metadata(orthanc_id)
    return orthanc_id, read_rtstruct(orthanc.instance_file(orthanc_id), calling_ae=metadata.get("RemoteAET") or None)


def _repeated(facts: RtstructFacts) -> dict[str, tuple[int, ...]]:
    numbers: dict[str, list[int]] = {}
    for roi in facts.rois:
        numbers.setdefault(spelled(roi.name), []).append(roi.number)
    return {name: tuple(same) for name, same in numbers.items() if len(same) > 1}


def _problem(facts: RtstructFacts) -> ErrorInfo | None:
    try:
        require_plannable(facts)
    except RadiarchError as e:
        return e.info
    return None


def _which(search: Search, located: Located, orthanc: OrthancClient) -> ErrorInfo | None:
    """Why it is not known which series is meant; None where it is."""
    try:
        search.chosen(orthanc, located)
    except RadiarchError as e:
        return e.info
    return None


def _match(tried: tuple[bool, Matched | Refusal]) -> MatchAnswer:
    enabled, found = tried
    if isinstance(found, Refusal):
        return MatchAnswer(
            protocol_id=found.protocol_id, enabled=enabled, fits=False, code=found.code, reason=found.reason
        )
    return MatchAnswer(
        protocol_id=found.protocol.id,
        enabled=enabled,
        fits=True,
        structures=found.structures,
        missing=found.missing,
    )

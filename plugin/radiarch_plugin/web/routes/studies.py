"""``/patients``, ``/studies``, ``/series``: what is stored in Orthanc, from its index; no file is read for lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from radiarch_contract.errors import InvalidRequestError, NotFoundError, ServiceError

from radiarch_plugin.record.index import day
from radiarch_plugin.services import Services, ServicesDep
from radiarch_plugin.store import PatientView, StudyFilter, StudySort, StudyView
from radiarch_plugin.web.answers import Page
from radiarch_plugin.web.record_answers import (
    InstanceSummary,
    ObjectAnswer,
    PatientAnswer,
    PatientDetail,
    SeriesDetail,
    SeriesSummary,
    StatisticsAnswer,
    StudyAnswer,
    StudyDetail,
    TagAnswer,
    TagsAnswer,
    TimelineItem,
)

from .ids import known_uid
from .queries import PageQuery, Text

router = APIRouter(tags=["studies"])

THUMBNAIL = 192
MAX_INSTANCES = 5000
MAX_OBJECTS = 1000
MAX_TAG_FILE = 64 * 1024 * 1024
MAX_VALUE = 1024
MAX_TAGS = 2000
_RT = {"RTSTRUCT": "rtstruct", "RTPLAN": "rtplan", "RTDOSE": "rtdose"}


class StudyQuery(PageQuery):
    """Filters of studies; all that are given must hold."""

    q: str | None = Field(
        default=None,
        max_length=100,
        description="Words or parts of them, all of which are in the patient's id or name, the description, the "
        "accession number or the Study Instance UID.",
    )
    patient_id: Text | None = None
    study_uid: Text | None = None
    date_from: str | None = Field(default=None, max_length=10, description="Study Date on that day or later.")
    date_to: str | None = Field(default=None, max_length=10, description="Study Date on that day or earlier.")
    modality: str | None = Field(default=None, max_length=16, description="One of its series has it.")
    structures: bool | None = Field(default=None, description="Whether it has a structure set.")
    plan: bool | None = Field(default=None, description="Whether it has a plan, ours or another system's.")
    dose: bool | None = Field(default=None, description="Whether it has a dose.")

    @field_validator("date_from", "date_to")
    @classmethod
    def _day(cls, text: str | None) -> str | None:
        if text is None:
            return None
        plain = day(text.replace("-", "") if len(text) == 10 else text)
        if not plain:
            raise ValueError("expected a date such as 2026-11-30")
        return plain

    def where(self) -> StudyFilter:
        names = StudyFilter.model_fields.keys() - {"study_instance_uid"}
        return StudyFilter(study_instance_uid=self.study_uid, **{n: getattr(self, n) for n in names})


class SortedStudyQuery(StudyQuery):
    sort: StudySort = Field(default="-study_date", description="A leading minus is last first; no date is earliest.")


class OwnerQuery(BaseModel):
    """Whose it is, where several patients have the same UID."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient_id: Text | None = None


@router.get("/statistics")
def statistics(services: ServicesDep) -> StatisticsAnswer:
    """How many patients, studies, series and instances Orthanc stores, and their size."""
    found = services.orthanc.statistics()
    return StatisticsAnswer(
        patients=int(found["CountPatients"]),
        studies=int(found["CountStudies"]),
        series=int(found["CountSeries"]),
        instances=int(found["CountInstances"]),
        size_bytes=int(found["TotalDiskSize"]),
    )


@router.get("/patients")
def list_patients(services: ServicesDep, query: Annotated[StudyQuery, Query()]) -> Page[PatientAnswer]:
    """Patients who have a study that fits, by Patient ID; counts are of the studies that fit."""
    page = services.store.studies.patients(query.where(), cursor=query.cursor, limit=query.limit)
    return Page(items=tuple(map(_patient, page.items)), next=page.next)


@router.get("/patients/{patient_id:path}")
def patient(patient_id: str, services: ServicesDep) -> PatientDetail:
    """One patient: studies, and what happened to their plans."""
    where = StudyFilter(patient_id=patient_id[:256])
    found = services.store.studies.patients(where, limit=1).items
    if not found:
        raise NotFoundError("there is no such patient", remedy="GET /patients has the list.")
    return PatientDetail(
        **_patient(found[0]).model_dump(),
        all_names=services.store.studies.names_of(found[0].patient_id),
        study_list=tuple(map(_study, services.store.studies.page(where, limit=500).items)),
        timeline=_timeline(services, found[0].patient_id, None, ()),
    )


@router.get("/studies")
def list_studies(services: ServicesDep, query: Annotated[SortedStudyQuery, Query()]) -> Page[StudyAnswer]:
    """Studies that fit, the newest Study Date first."""
    page = services.store.studies.page(query.where(), sort=query.sort, cursor=query.cursor, limit=query.limit)
    return Page(items=tuple(map(_study, page.items)), next=page.next)


@router.get("/studies/{study_instance_uid}")
def study(study_instance_uid: str, services: ServicesDep, query: Annotated[OwnerQuery, Query()]) -> StudyDetail:
    """One study: series, structure sets, plans of ours and of others, doses, and all on one time line."""
    found = services.store.studies.get(known_uid(study_instance_uid), patient_id=query.patient_id)
    series = services.orthanc.study_series(found.orthanc_id)
    summaries = tuple(sorted((_series(s) for s in series), key=_order))
    return StudyDetail(
        **_study(found).model_dump(),
        series=summaries,
        objects=tuple(_objects(services, series))[:MAX_OBJECTS],
        timeline=_timeline(services, found.patient_id, found.study_instance_uid, summaries),
    )


@router.get("/series/{series_instance_uid}")
def one_series(series_instance_uid: str, services: ServicesDep, query: Annotated[OwnerQuery, Query()]) -> SeriesDetail:
    """One series with its instances."""
    of, orthanc_id = services.store.studies.of_series(known_uid(series_instance_uid), patient_id=query.patient_id)
    series = services.orthanc.series(orthanc_id)
    instances = [i for i in services.orthanc.instances_of([series_instance_uid]) if i.get("ParentSeries") == orthanc_id]
    listed = sorted((_instance(i) for i in instances), key=lambda i: (_number(i.number), i.sop_instance_uid))
    return SeriesDetail(
        **_series(series).model_dump(),
        study_instance_uid=of.study_instance_uid,
        patient_id=of.patient_id,
        instances=tuple(listed)[:MAX_INSTANCES],
    )


@router.get(
    "/series/{series_instance_uid}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
def thumbnail(series_instance_uid: str, services: ServicesDep, query: Annotated[OwnerQuery, Query()]) -> Response:
    """A small picture of the image in the middle of a series."""
    _, orthanc_id = services.store.studies.of_series(known_uid(series_instance_uid), patient_id=query.patient_id)
    found = [i for i in services.orthanc.instances_of([series_instance_uid]) if i.get("ParentSeries") == orthanc_id]
    instances = sorted(found, key=lambda i: _number(_tag(i, "InstanceNumber")))
    if not instances:
        raise NotFoundError("the series has no instances any more", remedy="It was deleted: look at the study again.")
    try:
        data = services.orthanc.picture(str(instances[len(instances) // 2]["ID"]), THUMBNAIL)
    except (NotFoundError, ServiceError) as e:
        raise NotFoundError(
            "the series cannot be drawn: it has no images that Orthanc can decode",
            remedy="Structure sets and plans have none; see OHIF for other images.",
        ) from e
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/instances/{sop_instance_uid}/tags")
def tags(sop_instance_uid: str, services: ServicesDep, query: Annotated[OwnerQuery, Query()]) -> TagsAnswer:
    """The data elements of an instance on its first level; its file is read."""
    orthanc_id = services.orthanc.find_instance(known_uid(sop_instance_uid), patient_id=query.patient_id)
    size = int(services.orthanc.instance_tags(orthanc_id).get("FileSize", 0))
    if size > MAX_TAG_FILE:
        raise InvalidRequestError(
            f"the file has {size} bytes, expected at most {MAX_TAG_FILE}",
            remedy="Download it from Orthanc and read it there.",
        )
    found = services.orthanc.simplified_tags(orthanc_id)
    shown = tuple(_data_element(name, value) for name, value in sorted(found.items())[:MAX_TAGS])
    return TagsAnswer(sop_instance_uid=sop_instance_uid, tags=shown)


def _data_element(name: str, value: Any) -> TagAnswer:
    if isinstance(value, list):
        return TagAnswer(keyword=name[:128], value=None, items=len(value))
    text = None if value is None else str(value)
    return TagAnswer(
        keyword=name[:128], value=text and text[:MAX_VALUE], cut=text is not None and len(text) > MAX_VALUE
    )


def _patient(found: PatientView) -> PatientAnswer:
    return PatientAnswer(
        patient_id=found.patient_id,
        patient_name=found.patient_name or None,
        names=found.names,
        studies=found.studies,
        first_study_date=_iso(found.first_study_date),
        last_study_date=_iso(found.last_study_date),
    )


def _study(found: StudyView) -> StudyAnswer:
    return StudyAnswer(
        study_instance_uid=found.study_instance_uid,
        orthanc_id=found.orthanc_id,
        patient_id=found.patient_id,
        patient_name=found.patient_name or None,
        patient_birth_date=_iso(found.patient_birth_date),
        patient_sex=found.patient_sex or None,
        study_date=_iso(found.study_date),
        description=found.description,
        accession_number=found.accession_number,
        modalities=found.modalities,
        series_count=found.series_count,
        has_structures=found.has_structures,
        has_plan=found.has_plan,
        has_dose=found.has_dose,
    )


def _series(found: dict[str, Any]) -> SeriesSummary:
    return SeriesSummary(
        series_instance_uid=_tag(found, "SeriesInstanceUID"),
        orthanc_id=str(found["ID"]),
        modality=_tag(found, "Modality"),
        description=_tag(found, "SeriesDescription"),
        number=_tag(found, "SeriesNumber"),
        series_date=_iso(day(_tag(found, "SeriesDate"))),
        instance_count=len(found.get("Instances") or ()),
        stored_at=_stored_at(str(found.get("LastUpdate", ""))),
    )


def _instance(found: dict[str, Any]) -> InstanceSummary:
    return InstanceSummary(
        sop_instance_uid=_tag(found, "SOPInstanceUID"),
        orthanc_id=str(found["ID"]),
        number=_tag(found, "InstanceNumber"),
    )


def _objects(services: Services, series: Sequence[dict[str, Any]]) -> list[ObjectAnswer]:
    """Structure sets, plans and doses, each with our plan whose result it is."""
    rt = {str(s["ID"]): s for s in series if _tag(s, "Modality") in _RT}
    if not rt:
        return []
    uids = [_tag(s, "SeriesInstanceUID") for s in rt.values()]
    ours = services.store.studies.results_in(uids)
    return [
        ObjectAnswer(
            kind=_RT[_tag(rt[of], "Modality")],  # type: ignore[arg-type]
            sop_instance_uid=_tag(found, "SOPInstanceUID"),
            orthanc_id=str(found["ID"]),
            series_instance_uid=_tag(rt[of], "SeriesInstanceUID"),
            series_description=_tag(rt[of], "SeriesDescription"),
            plan_id=ours.get(_tag(found, "SOPInstanceUID")),
        )
        for found in services.orthanc.instances_of(uids)
        if (of := str(found.get("ParentSeries"))) in rt
    ]


def _timeline(
    services: Services, patient_id: str, study_uid: str | None, series: Sequence[SeriesSummary]
) -> tuple[TimelineItem, ...]:
    items = [
        TimelineItem(
            at=s.stored_at,
            kind="stored",
            text=" ".join(filter(None, (s.modality, s.description, f"({s.instance_count})"))),
            series_instance_uid=s.series_instance_uid,
        )
        for s in series
        if s.stored_at is not None
    ]
    items += [
        TimelineItem(at=e.at, kind="plan", text=f"{e.label} ({e.workflow_id})", plan_id=e.plan_id, state=e.state)
        for e in services.store.studies.events(patient_id, study_uid)
    ]
    items += [
        TimelineItem(
            at=a.approval.at,
            kind="approval",
            text=": ".join(filter(None, (a.label, a.approval.comment))),
            plan_id=a.plan_id,
            decision=a.approval.decision,
            by=a.approval.by,
        )
        for a in services.store.studies.approvals(patient_id, study_uid)
    ]
    return tuple(sorted(items, key=lambda item: item.at))


def _tag(item: dict[str, Any], name: str) -> str:
    return str((item.get("MainDicomTags") or {}).get(name, "")).strip(" \0")[:256]


def _iso(plain: str) -> str | None:
    return f"{plain[:4]}-{plain[4:6]}-{plain[6:]}" if plain else None


def _stored_at(text: str) -> datetime | None:
    """Orthanc's time of the last change, UTC."""
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _number(text: str) -> float:
    """Numbers in order; what is none comes last."""
    try:
        number = float(text)
    except ValueError:
        return float("inf")
    return number if number == number else float("inf")


def _order(series: SeriesSummary) -> tuple[float, str]:
    return _number(series.number), series.series_instance_uid

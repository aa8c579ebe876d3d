"""``/measurements``: distances, areas and angles on stored images; the service computes each value from the points."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.strict import Asked, Lines

from radiarch_plugin.record.measuring import MAX_POINTS, Point, measured
from radiarch_plugin.services import Services, ServicesDep
from radiarch_plugin.store import MeasurementVersion, MeasurementView, NewMeasurement
from radiarch_plugin.web.answers import Page, View
from radiarch_plugin.web.requester import RequesterDep

from .ids import known_id, known_uid
from .queries import PageQuery, Text

router = APIRouter(tags=["measurements"])

MAX_EXPORTED = 10_000
COLUMNS = (
    "id", "version", "patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid", "type", "label",
    "description", "value", "unit", "by", "at", "points_mm",
)  # fmt: skip
_FORMULA = re.compile(r"\s*[=+\-@]")

Points = Annotated[tuple[Point, ...], Field(min_length=1, max_length=MAX_POINTS)]
POINTS = "In the patient's coordinates (LPS), mm."


class MeasurementChange(Asked):
    """A measurement as it is to be from now on."""

    version: int = Field(description="The one that was seen: if it is no longer the newest, nothing is changed.")
    label: Annotated[str, Field(max_length=200)] = ""
    description: Annotated[str, Field(max_length=2000), Lines()] = ""
    points_mm: Points = Field(description=POINTS)


class MeasurementRequest(Asked):
    """A measurement to be made on an image."""

    study_instance_uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    series_instance_uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    sop_instance_uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    patient_id: Text | None = Field(default=None, description="Whose, where several patients have these UIDs.")
    type: Literal["distance", "area", "angle"] = Field(
        description="distance: 2 points; angle: 3, at the second; area: a plane outline of 3 to 500."
    )
    label: Annotated[str, Field(max_length=200)] = ""
    description: Annotated[str, Field(max_length=2000), Lines()] = ""
    points_mm: Points = Field(description=POINTS)


class MeasurementVersionAnswer(View):
    """A measurement as it was from then on."""

    version: int
    label: str
    description: str
    points_mm: tuple[Point, ...]
    value: float
    unit: str = Field(description="mm, mm2 or deg.")
    by: str | None = Field(description="The user who was authenticated; null where the service asks nobody.")
    at: datetime


class MeasurementAnswer(MeasurementVersionAnswer):
    """A measurement: its newest version, and the former ones."""

    id: str
    type: str
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    frame_of_reference_uid: str
    former: tuple[MeasurementVersionAnswer, ...]


class MeasurementQuery(PageQuery):
    """Filters of measurements."""

    study_uid: Text | None = None
    patient_id: Text | None = None


class StudyMeasurementsQuery(PageQuery):
    """Whose, where several patients have a study with this UID."""

    patient_id: Text | None = None


class ExportQuery(BaseModel):
    """In which form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient_id: Text | None = None
    format: Literal["json", "csv"] = "json"


class MeasurementsExport(View):
    """All measurements of a study."""

    items: tuple[MeasurementAnswer, ...]


@router.post("/measurements", status_code=201)
def create(request: MeasurementRequest, services: ServicesDep, requester: RequesterDep) -> MeasurementAnswer:
    """Measure on a stored image."""
    study = services.store.studies.get(request.study_instance_uid, patient_id=request.patient_id)
    orthanc_id = services.orthanc.find_instance(
        request.sop_instance_uid, patient_id=study.patient_id, study_instance_uid=study.study_instance_uid
    )
    of = services.orthanc.series_key(services.orthanc.instance_series(orthanc_id))
    if (of.study_instance_uid, of.series_instance_uid) != (study.study_instance_uid, request.series_instance_uid):
        raise InvalidRequestError(
            "the image is of another study or series than the measurement names",
            remedy="Give the study and the series in which the image is stored.",
        )
    frame = services.orthanc.frame_of_reference(orthanc_id)
    if not frame:
        raise InvalidRequestError(
            "the image has no Frame of Reference UID (0020,0052): points in the patient mean nothing on it",
            remedy="Measure on an image that has one, such as a CT.",
        )
    new = NewMeasurement(
        patient_id=study.patient_id,
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=request.series_instance_uid,
        sop_instance_uid=request.sop_instance_uid,
        frame_of_reference_uid=frame,
        type=request.type,
    )
    return _answer(services.store.measurements.add(new, _version(request.type, request, 1, requester)))


@router.get("/measurements")
def list_measurements(services: ServicesDep, query: Annotated[MeasurementQuery, Query()]) -> Page[MeasurementAnswer]:
    """Measurements in the order in which they were made."""
    page = services.store.measurements.page(
        study_instance_uid=query.study_uid, patient_id=query.patient_id, cursor=query.cursor, limit=query.limit
    )
    return Page(items=tuple(map(_answer, page.items)), next=page.next)


@router.get("/measurements/{measurement_id}")
def get(measurement_id: str, services: ServicesDep) -> MeasurementAnswer:
    """One measurement with its former versions."""
    return _answer(services.store.measurements.get(_id(measurement_id)))


@router.put("/measurements/{measurement_id}")
def change(
    measurement_id: str, request: MeasurementChange, services: ServicesDep, requester: RequesterDep
) -> MeasurementAnswer:
    """Another version of a measurement: its text, its points, and the value that follows from them."""
    before = services.store.measurements.get(_id(measurement_id))
    made = _version(before.type, request, request.version, requester)
    return _answer(services.store.measurements.change(before.id, made))


@router.delete("/measurements/{measurement_id}", status_code=204)
def delete(
    measurement_id: str,
    services: ServicesDep,
    if_match: Annotated[str | None, Header(description="The version that was seen, such as 2.")] = None,
) -> None:
    """Take a measurement from the lists."""
    version = None if if_match is None else if_match.strip().strip('"')
    if version is not None and not re.fullmatch(r"[0-9]{1,9}", version):
        raise InvalidRequestError("If-Match is not a version", remedy="Give the version that you have seen, such as 2.")
    services.store.measurements.delete(_id(measurement_id), None if version is None else int(version))


@router.get("/studies/{study_instance_uid}/measurements")
def of_study(
    study_instance_uid: str, services: ServicesDep, query: Annotated[StudyMeasurementsQuery, Query()]
) -> Page[MeasurementAnswer]:
    """A study's measurements in the order in which they were made."""
    study = services.store.studies.get(known_uid(study_instance_uid), patient_id=query.patient_id)
    page = services.store.measurements.page(
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        cursor=query.cursor,
        limit=query.limit,
    )
    return Page(items=tuple(map(_answer, page.items)), next=page.next)


@router.get(
    "/studies/{study_instance_uid}/export",
    response_model=MeasurementsExport,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def export(
    study_instance_uid: str, services: ServicesDep, query: Annotated[ExportQuery, Query()]
) -> MeasurementsExport | Response:
    """A study's measurements, all of them up to 10,000: JSON, or CSV in which no text is a formula."""
    study = services.store.studies.get(known_uid(study_instance_uid), patient_id=query.patient_id)
    items = tuple(map(_answer, _all(services, study.study_instance_uid, study.patient_id)))
    if query.format == "json":
        return MeasurementsExport(items=items)
    return Response(
        as_csv(items),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="measurements.csv"'},
    )


def as_csv(items: tuple[MeasurementAnswer, ...]) -> str:
    """A table of measurements; a text that a spreadsheet would compute gets an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for item in items:
        points = " ".join(",".join(f"{c:g}" for c in p) for p in item.points_mm)
        values = {**item.model_dump(), "at": item.at.astimezone(UTC).isoformat(), "points_mm": points}
        writer.writerow([values[n] if n in ("value", "version") else harmless(str(values[n] or "")) for n in COLUMNS])
    return out.getvalue()


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    >>> harmless("=1+1"), harmless("left")
    ("'=1+1", 'left')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def _all(services: Services, study_uid: str, patient_id: str) -> Iterator[MeasurementView]:
    cursor, left = None, MAX_EXPORTED
    while left > 0:
        page = services.store.measurements.page(
            study_instance_uid=study_uid, patient_id=patient_id, cursor=cursor, limit=500
        )
        yield from page.items
        cursor, left = page.next, left - len(page.items)
        if cursor is None:
            return


def _version(
    kind: str, asked: MeasurementRequest | MeasurementChange, version: int, by: str | None
) -> MeasurementVersion:
    value = measured(kind, asked.points_mm)
    return MeasurementVersion(
        version=version,
        label=asked.label,
        description=asked.description,
        points_mm=asked.points_mm,
        value=value.value,
        unit=value.unit,
        by=by,
        at=datetime.now(UTC),
    )


def _id(measurement_id: str) -> str:
    return known_id(measurement_id, "measurement", "/measurements")


def _answer(found: MeasurementView) -> MeasurementAnswer:
    return MeasurementAnswer(
        **found.model_dump(exclude={"current", "former"}),
        **found.current.model_dump(),
        former=tuple(MeasurementVersionAnswer(**f.model_dump()) for f in found.former),
    )

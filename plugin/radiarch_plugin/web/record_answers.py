"""What the routes of patients, studies and series answer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from .answers import PATIENT_NAME, View

_DAY = Field(default=None, description="YYYY-MM-DD as DICOM has it; null where it has no valid one.")


class StudyAnswer(View):
    """A study, by Orthanc's index."""

    study_instance_uid: str
    orthanc_id: str
    patient_id: str
    patient_name: str | None = PATIENT_NAME
    patient_birth_date: str | None = _DAY
    patient_sex: str | None = None
    study_date: str | None = _DAY
    description: str
    accession_number: str
    modalities: tuple[str, ...] = Field(description="Of all its series.")
    series_count: int
    has_structures: bool
    has_plan: bool = Field(description="An RT Plan or RT Ion Plan, ours or another system's.")
    has_dose: bool


class PatientAnswer(View):
    """All that is stored under one Patient ID."""

    patient_id: str
    patient_name: str | None = PATIENT_NAME
    names: int = Field(description="How many different names are stored under this ID: more than one is worth a look.")
    studies: int
    first_study_date: str | None = _DAY
    last_study_date: str | None = _DAY


class ObjectAnswer(View):
    """A structure set, plan or dose."""

    kind: Literal["rtstruct", "rtplan", "rtdose"]
    sop_instance_uid: str
    orthanc_id: str
    series_instance_uid: str
    series_description: str
    plan_id: str | None = Field(default=None, description="Of our plan whose result it is; null: another system's.")


class SeriesSummary(View):
    """A series, by Orthanc's index."""

    series_instance_uid: str
    orthanc_id: str
    modality: str
    description: str
    number: str
    series_date: str | None = _DAY
    instance_count: int
    stored_at: datetime | None = Field(default=None, description="When something of it was stored last.")


class TimelineItem(View):
    """Something that happened, oldest first."""

    at: datetime
    kind: Literal["stored", "plan", "approval"]
    text: str
    series_instance_uid: str | None = None
    plan_id: str | None = None
    state: str | None = Field(default=None, description="Of the plan from then on.")
    decision: str | None = None
    by: str | None = None


class StudyDetail(StudyAnswer):
    """A study with all that is in it, and what happened to it."""

    series: tuple[SeriesSummary, ...]
    objects: tuple[ObjectAnswer, ...] = Field(description="Structure sets, plans and doses, at most 1,000 of them.")
    timeline: tuple[TimelineItem, ...]


class PatientDetail(PatientAnswer):
    """A patient's studies, and what happened to their plans."""

    all_names: tuple[str, ...]
    study_list: tuple[StudyAnswer, ...] = Field(description="Newest first, at most 500; /studies has pages of them.")
    timeline: tuple[TimelineItem, ...]


class InstanceSummary(View):
    """An instance, by Orthanc's index."""

    sop_instance_uid: str
    orthanc_id: str
    number: str


class SeriesDetail(SeriesSummary):
    """A series with its instances."""

    study_instance_uid: str
    patient_id: str
    instances: tuple[InstanceSummary, ...] = Field(description="By number, at most 5,000; instance_count counts all.")


class TagAnswer(View):
    """A data element; a sequence says only how many items it has."""

    keyword: str
    value: str | None
    items: int | None = Field(default=None, description="Of a sequence.")
    cut: bool = Field(default=False, description="The value is longer than shown.")


class TagsAnswer(View):
    """The data elements of an instance on its first level."""

    sop_instance_uid: str
    tags: tuple[TagAnswer, ...]


class StatisticsAnswer(View):
    """How much Orthanc stores."""

    patients: int
    studies: int
    series: int
    instances: int
    size_bytes: int

"""Operations on patients, studies and series as the server has indexed them, as flows."""

from __future__ import annotations

from datetime import date
from urllib.parse import quote

from radiarch_contract.errors import InvalidRequestError

from ._answers import fetch
from ._effects import Flow, Request
from ._rest import api, optional, query, segment
from .models import Page, Patient, PatientDetail, SeriesDetail, Study, StudyDetail


def _filters(
    *,
    q: str | None,
    patient_id: str | None,
    date_from: date | str | None,
    date_to: date | str | None,
    modality: str | None,
    structures: bool | None,
    plan: bool | None,
    dose: bool | None,
) -> dict[str, str | None]:
    flags = {"structures": structures, "plan": plan, "dose": dose}
    return {
        "q": q,
        "patient_id": patient_id,
        "date_from": None if date_from is None else str(date_from),
        "date_to": None if date_to is None else str(date_to),
        "modality": modality,
        **{name: None if value is None else str(value).lower() for name, value in flags.items()},
    }


@optional("GET", "/studies", "a list of studies")
def studies_page(
    cursor: str | None,
    /,
    *,
    q: str | None = None,
    patient_id: str | None = None,
    date_from: date | str | None = None,
    date_to: date | str | None = None,
    modality: str | None = None,
    structures: bool | None = None,
    plan: bool | None = None,
    dose: bool | None = None,
    sort: str | None = None,
    page_size: int = 100,
) -> Flow[Page[Study]]:
    """Studies that fit, the newest Study Date first; pages are fetched as needed.

    Parameters
    ----------
    q
        Words or parts of them: of the patient's id or name, the description, the accession number, the UID.
    date_from, date_to
        Study Date, both included.
    modality
        One of its series has it.
    structures, plan, dose
        Whether it has such an object; None: either.
    sort
        ``study_date`` or ``patient_name``; a leading minus is last first.
    """
    filters = _filters(
        q=q,
        patient_id=patient_id,
        date_from=date_from,
        date_to=date_to,
        modality=modality,
        structures=structures,
        plan=plan,
        dose=dose,
    )
    params = query({**filters, "sort": sort, "limit": page_size, "cursor": cursor})
    return fetch(Request("GET", api("studies"), params=params), Page[Study])


@optional("GET", "/studies/{study_instance_uid}", "studies")
def get_study(study_instance_uid: str, *, patient_id: str | None = None) -> Flow[StudyDetail]:
    """One study: its series, structure sets, plans and doses, and what happened to them.

    ``patient_id`` says whose it is where several patients have a study with this UID.
    """
    path = api("studies", segment(study_instance_uid))
    return fetch(Request("GET", path, params=query({"patient_id": patient_id})), StudyDetail)


@optional("GET", "/patients", "a list of patients")
def patients_page(
    cursor: str | None,
    /,
    *,
    q: str | None = None,
    date_from: date | str | None = None,
    date_to: date | str | None = None,
    page_size: int = 100,
) -> Flow[Page[Patient]]:
    """Patients who have a study that fits, by Patient ID; pages are fetched as needed."""
    params = {"q": q, "date_from": date_from, "date_to": date_to, "limit": page_size, "cursor": cursor}
    return fetch(Request("GET", api("patients"), params=query(params)), Page[Patient])


@optional("GET", "/patients/{patient_id}", "patients")
def get_patient(patient_id: str) -> Flow[PatientDetail]:
    """One patient: names, studies, and what happened to their plans."""
    if not patient_id or {"", ".", ".."} & set(patient_id.split("/")):
        raise InvalidRequestError(
            f"{patient_id!r} cannot be in a path", remedy="List the studies of this patient_id instead."
        )
    return fetch(Request("GET", api("patients", quote(patient_id))), PatientDetail)


@optional("GET", "/series/{series_instance_uid}", "series")
def get_series(series_instance_uid: str, *, patient_id: str | None = None) -> Flow[SeriesDetail]:
    """One series with its instances."""
    path = api("series", segment(series_instance_uid))
    return fetch(Request("GET", path, params=query({"patient_id": patient_id})), SeriesDetail)

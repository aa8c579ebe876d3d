"""A plan's report and pictures, as Orthanc keeps them; what is not there is said to be not there."""

from __future__ import annotations

import io
from collections.abc import Callable

import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.job import JobResult, Output
from radiarch_contract.pictures import ATTACHMENTS, Plane
from radiarch_contract.states import OutputKind
from radiarch_contract.uids import series_instance_uid, sop_class_uid, sop_instance_uid
from radiarch_worker.dicom import encode, write_report, write_rtdose, write_rtplan
from radiarch_worker.evaluation import Evaluation

from tests.plugin.web.conftest import Api
from tests.plugin.web.test_plans import BASIC, asked
from tests.worker.dicom import waterbox

PDF = b"%PDF-1.3 odd!"


def ended(api: Api, plan_id: str, *kinds: OutputKind) -> dict[OutputKind, str]:
    """A worker has stored these results; Orthanc's ids."""
    case = waterbox.case()
    spec = case.spec.model_copy(update={"plan_id": plan_id})
    nothing = Evaluation((), (), ())
    written: dict[OutputKind, Callable[[], Dataset]] = {
        OutputKind.RTPLAN: lambda: write_rtplan(spec, case.patient, case.plan),
        OutputKind.RTDOSE: lambda: write_rtdose(spec, case.patient, case.plan, nothing),
        OutputKind.REPORT: lambda: write_report(spec, case.patient, case.plan, PDF),
    }
    ids = dict(zip(kinds, api.upload(*(pydicom.dcmread(io.BytesIO(encode(written[k]()))) for k in kinds)), strict=True))
    begun = api.store.attempts.begin(plan_id)
    assert begun is not None
    outputs = tuple(
        Output(
            kind=kind,
            sop_class_uid=sop_class_uid(kind, "proton"),
            sop_instance_uid=sop_instance_uid(plan_id, kind),
            series_instance_uid=series_instance_uid(plan_id, kind),
            orthanc_id=orthanc_id,
            sha256="a" * 64,
        )
        for kind, orthanc_id in ids.items()
    )
    assert api.store.attempts.succeed(JobResult(plan_id=plan_id, attempt=begun.attempt, outputs=outputs))
    return ids


def test_the_report_is_the_pdf_that_was_stored(api: Api, stored_uid: str) -> None:
    plan_id = asked(api, stored_uid, **BASIC)["id"]
    assert api.get(f"/plans/{plan_id}/report").status_code == 409  # not yet
    ended(api, plan_id, OutputKind.RTPLAN, OutputKind.RTDOSE, OutputKind.REPORT)
    answer = api.get(f"/plans/{plan_id}/report")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.content == PDF
    assert {o["kind"] for o in api.get(f"/plans/{plan_id}").json()["outputs"]} == {"rtplan", "rtdose", "report"}


@pytest.mark.parametrize("plane", list(Plane))
def test_each_picture_is_the_one_of_its_plane(api: Api, stored_uid: str, plane: Plane) -> None:
    plan_id = asked(api, stored_uid, **BASIC)["id"]
    assert api.get(f"/plans/{plan_id}/pictures/{plane}").status_code == 409
    dose = ended(api, plan_id, OutputKind.RTPLAN, OutputKind.RTDOSE)[OutputKind.RTDOSE]
    for each in Plane:
        path = f"/instances/{dose}/attachments/{ATTACHMENTS[each]}"
        api.orthanc.put(path, content=b"\x89PNG\r\n\x1a\n" + each.encode()).raise_for_status()
    answer = api.get(f"/plans/{plan_id}/pictures/{plane}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.endswith(plane.encode())


def test_what_was_never_drawn_is_not_found(api: Api, stored_uid: str) -> None:
    plan_id = asked(api, stored_uid, **BASIC)["id"]
    ended(api, plan_id, OutputKind.RTPLAN, OutputKind.RTDOSE)
    for path in ("report", "pictures/axial", "pictures/oblique"):
        answer = api.get(f"/plans/{plan_id}/{path}")
        assert answer.status_code == 404
        assert answer.json()["remedy"]

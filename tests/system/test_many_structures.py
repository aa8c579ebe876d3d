"""Structure sets of thousands of ROIs and a million points are planned; nothing that travels grows without bound."""

from __future__ import annotations

import io

import pydicom
import pytest
from radiarch_contract import API_PREFIX, transport

from phantoms import box, faults

from .service import Service
from .test_arrival import Save, assert_one_set_of_results, uid_of

pytestmark = [pytest.mark.system, pytest.mark.slow]

ROIS = 2_000


def test_two_thousand_structures_of_a_million_points(service: Service, save: Save) -> None:
    few = box(shape=(16, 56, 56), target_mm=24)
    study = faults.with_many_rois(few, ROIS - len(few.rtstruct.StructureSetROISequence))
    points = sum(int(c.NumberOfContourPoints) for r in study.rtstruct.ROIContourSequence for c in r.ContourSequence)
    assert points > 990_000
    service.send(save(study))
    plan_id = service.wait_for_plan(uid_of(study), within_s=120)["id"]
    largest = 0

    def ended() -> bool:
        nonlocal largest
        for key in service.redis.scan_iter(transport.attempt_key(plan_id, 1)):
            largest = max(largest, service.redis.strlen(key))
        return service.plan(plan_id)["state"] in ("succeeded", "failed", "cancelled")

    service.wait(ended, "the plan has ended", within_s=600)
    plan = service.plan(plan_id)
    assert_one_set_of_results(service, study, plan)
    assert plan["attempt"] == 1
    assert 0 < largest <= transport.MAX_STATUS_BYTES
    assert service.redis.strlen(transport.result_key(plan_id, 1)) <= transport.MAX_RESULT_BYTES
    assert len(plan["metrics"]) == ROIS
    curves = service.api(f"/plans/{plan_id}/dvh")["curves"]
    assert len(curves) == ROIS
    assert all(len(c["dose_gy"]) == len(c["volume_percent"]) > 1 for c in curves)
    (dose,) = service.results(str(study.rtstruct.StudyInstanceUID))["RTDOSE"]
    assert len(dose.DVHSequence) == ROIS
    report = service.http.get(f"{API_PREFIX}/plans/{plan_id}/report").raise_for_status().content
    assert report.startswith(b"%PDF-")
    assert len(report) < 20 << 20
    print({k: round(v, 1) for k, v in plan["timings_s"].items()}, largest, len(report))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dose)
    assert buffer.tell() < 64 << 20

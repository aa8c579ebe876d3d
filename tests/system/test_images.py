"""Which images are planned on, and how their patient lies, from a C-STORE to the stored plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract import API_PREFIX

from phantoms import faults
from phantoms.positions import from_supine, lying, setup

from .service import Service
from .test_arrival import NewStudy, Save, assert_one_set_of_results, uid_of

pytestmark = pytest.mark.system

FAULTS = Path(os.environ.get("RADIARCH_FAULTS") or Path(__file__).resolve().parents[3] / "shared" / "faults")
ENDED = ("succeeded", "failed", "cancelled")


def files_of(datasets: list[Dataset], folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{n:04d}.dcm" for n in range(len(datasets))]
    for dataset, path in zip(datasets, paths, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def ended(service: Service, rtstruct_uid: str) -> dict[str, Any]:
    return service.wait_for_plan(rtstruct_uid, *ENDED, within_s=180)


@pytest.mark.parametrize("kind", ["another series", "another patient"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_copies_of_the_ct_with_other_values_change_nothing(
    service: Service, new_study: NewStudy, tmp_path: Path, kind: str, when: str
) -> None:
    study = new_study()
    own, copied = [*study.images], faults.copies(study, kind)
    batches = [copied, own] if when == "before" else [own, copied]
    for n, batch in enumerate([*batches, [study.rtstruct]]):
        service.send(files_of(batch, tmp_path / str(n)))
    plan = ended(service, uid_of(study))
    assert_one_set_of_results(service, study, plan)
    assert plan["provenance"]["ct"]["series_instance_uid"] == study.images[0].SeriesInstanceUID
    # the copies are denser: the range, and so the highest energy, would be another
    alone = new_study()
    service.send(files_of(alone.datasets, tmp_path / "alone"))
    assert ended(service, uid_of(alone))["beams"] == plan["beams"]


@pytest.mark.parametrize("order", ["structures first", "structures last"])
def test_the_whole_series_is_used(service: Service, new_study: NewStudy, tmp_path: Path, order: str) -> None:
    study = faults.naming_only_contoured(new_study(), "PTV")
    everything = [*study.images, study.rtstruct] if order == "structures last" else [study.rtstruct, *study.images]
    service.send(files_of(everything, tmp_path / "all"))
    plan = ended(service, uid_of(study))
    assert_one_set_of_results(service, study, plan)
    used = plan["provenance"]["ct"]
    assert (used["slices"], used["named"], used["stored"]) == (16, 6, 16)
    assert any("all 16 slices" in note for note in plan["notes"])


def test_a_pet_that_is_merely_listed(service: Service, new_study: NewStudy, save: Save) -> None:
    study = faults.listing_pet(new_study())
    service.send(save(study))
    plan = ended(service, uid_of(study))
    assert_one_set_of_results(service, study, plan)
    assert any("5 images of other series" in note for note in plan["notes"])


@pytest.mark.parametrize("position", ["HFP", "FFS", "HFDR"])
def test_a_patient_who_lies_otherwise(service: Service, new_study: NewStudy, save: Save, position: str) -> None:
    study = lying(new_study(), position)
    service.send(save(study))
    plan = ended(service, uid_of(study))
    assert_one_set_of_results(service, study, plan)
    results = service.results(str(study.rtstruct.StudyInstanceUID))
    (rtplan,), (rtdose,) = results["RTPLAN"], results["RTDOSE"]
    assert set(setup(rtplan).values()) == {position}
    # gantry 0 shines from above, wherever in the patient that is: more dose there than on the other side of the target
    up = from_supine(position) @ np.array([0, -1, 0])
    gy = rtdose.pixel_array * float(rtdose.DoseGridScaling)
    axis, sign = int(np.flatnonzero(up)[0]), int(up.sum())
    profile = gy.sum(axis=tuple(a for a in range(3) if a != 2 - axis))[::sign]
    assert profile[len(profile) * 3 // 4 :].sum() > 3 * profile[: len(profile) // 4].sum()


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no faulty studies beside the checkout")
@pytest.mark.parametrize(
    ("name", "slices", "named"),
    [("copy_series_after", 30, 30), ("subset_refs_no_body", 30, 8), ("rtstruct_lists_pet", 30, 30)],
)
def test_the_faulty_studies(service: Service, name: str, slices: int, named: int) -> None:
    paths = sorted((FAULTS / name).rglob("*.dcm"))
    rtstruct = next(ds for p in paths if (ds := pydicom.dcmread(p, stop_before_pixels=True)).Modality == "RTSTRUCT")
    service.send(paths)
    asked = {"rtstruct_sop_instance_uid": str(rtstruct.SOPInstanceUID), "protocol_id": "test-box"}
    service.http.post(f"{API_PREFIX}/plans", json=asked).raise_for_status()
    plan = ended(service, str(rtstruct.SOPInstanceUID))
    assert plan["state"] == "succeeded", plan["error"]
    used = plan["provenance"]["ct"]
    assert (used["slices"], used["named"]) == (slices, named)
    listed = rtstruct.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert used["series_instance_uid"] == listed.SeriesInstanceUID

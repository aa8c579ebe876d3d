"""Structure sets that went wrong once, where they are beside the checkout: what each is read as."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import ImptBasicParameters
from radiarch_worker.model import Patient
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import prepare

FAULTS = Path(os.environ.get("RADIARCH_FAULTS") or Path(__file__).resolve().parents[4] / "shared" / "faults")
pytestmark = pytest.mark.skipif(not FAULTS.is_dir(), reason="no faulty studies beside the checkout")


def read(name: str, *, max_contour_gap_mm: float = 10.0) -> Patient:
    """A study as a plan on its PTV begins with it."""
    files = [pydicom.dcmread(p) for p in sorted((FAULTS / name).rglob("*.dcm"))]
    (rtstruct,) = (f for f in files if f.Modality == "RTSTRUCT")
    images = [f for f in files if f.Modality == "CT"]
    loaded = load_patient(rtstruct, images, needed_rois=[2], max_contour_gap_mm=max_contour_gap_mm)
    refs = {s.name: StructureRef(name=s.name, roi_number=n, roi_name=s.name) for n, s in loaded.structures.items()}
    return prepare(loaded, refs, ImptBasicParameters())[0]


def target_cc(patient: Patient) -> float:
    return float(np.count_nonzero(patient.structures[2].mask)) * patient.ct.grid.voxel_cc


def said(patient: Patient) -> str:
    return "\n".join(patient.notes)


@pytest.mark.parametrize(
    ("name", "volume_cc", "note"),
    [
        ("dup_contours", 32.77, "counted once, on z = -14.00, -10.00, -6.00, -2.00 mm"),
        ("mixed_spacing_contours", 262.1, "interpolated between their neighbours, z = 10.00, 18.00, 26.00 mm"),
        ("body_beyond_ct", 32.77, "16.67 % of its volume lies outside of the CT"),
        ("density_in_rtstruct", 32.77, "count as titanium of 4.500 g/cm³"),
        ("many_structures", 32.77, ""),
    ],
)
def test_read_right_and_said(name: str, volume_cc: float, note: str) -> None:
    patient = read(name)
    assert target_cc(patient) == pytest.approx(volume_cc, abs=0.1)
    assert note in said(patient)


def test_the_targets_gap_is_refused_or_completed_as_the_site_sets_it() -> None:
    with pytest.raises(InputRefusedError) as caught:
        read("part_open_planar")
    assert caught.value.code is ErrorCode.INCOMPLETE_STRUCTURE
    assert target_cc(read("part_open_planar", max_contour_gap_mm=12)) == pytest.approx(32.77, abs=0.1)


def test_the_outlines_gap_is_refused_or_completed_as_the_site_sets_it() -> None:
    with pytest.raises(InputRefusedError) as caught:
        read("body_gap_beside")
    assert caught.value.code is ErrorCode.INCOMPLETE_STRUCTURE
    completed = read("body_gap_beside", max_contour_gap_mm=12)
    assert np.array_equal(completed.body.mask, read("base").body.mask)
    assert "z = 26.00, 30.00, 34.00 mm" in said(completed)

"""Real cases, where they are beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from radiarch_worker.model import Patient
from radiarch_worker.patient import load_patient
from radiarch_worker.patient.body import find_body

from .support import volumes_cc

CASES = Path(os.environ.get("RADIARCH_CASES") or Path(__file__).resolve().parents[4] / "shared" / "cases")
pytestmark = [pytest.mark.cases, pytest.mark.skipif(not CASES.is_dir(), reason="no real cases beside the checkout")]


def load_case(name: str) -> Patient:
    images = [pydicom.dcmread(p) for p in sorted((CASES / name / "CT").iterdir())]
    return load_patient(pydicom.dcmread(CASES / name / "RTSTRUCT.dcm"), images)


@pytest.fixture(scope="module")
def prostate() -> Patient:
    return load_case("prostate")


@pytest.fixture(scope="module")
def tg119() -> Patient:
    return load_case("tg119")


# Volumes by OpenTPS 2.0.0, whose masks hold the voxels that the outline only touches as well: up to 3 % more in a
# small organ. A shoelace over the same contours gives 218.1 cc for the PTV, 11 910 for BODY.
OPENTPS_CC = {"Prostate": 69.9, "PTV": 226.0, "Rectum": 82.2, "Bladder": 318.8, "BODY": 11994.0}


def polygons_cc(patient: Patient, name: str) -> float:
    """Volume from the contours' areas, without voxels; right where no contour is a hole."""
    structure = next(s for s in patient.structures.values() if s.name == name)
    area = 0.0
    for _, xy in structure.contours:
        x, y = xy.T
        area += abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return float(area) * patient.ct.grid.spacing_mm[2] / 1000


@pytest.mark.parametrize("name", OPENTPS_CC)
def test_prostate_volumes(prostate: Patient, name: str) -> None:
    measured = volumes_cc(prostate)[name]
    assert 0.965 * OPENTPS_CC[name] < measured <= OPENTPS_CC[name]
    assert polygons_cc(prostate, name) == pytest.approx(measured, rel=0.045)


@pytest.mark.parametrize(("name", "volume_cc"), [("OuterTarget", 167.8), ("Core", 29.7)])
def test_tg119_volumes(tg119: Patient, name: str, volume_cc: float) -> None:
    assert volumes_cc(tg119)[name] == pytest.approx(volume_cc, rel=0.005)


def test_the_prostate_case_needs_no_notes(prostate: Patient) -> None:
    assert prostate.notes == ()
    assert prostate.body.roi_number == 0
    assert prostate.ct.grid.shape == (71, 256, 256)
    assert prostate.ct.grid.spacing_mm == pytest.approx((1.8008, 1.8008, 2.0))


@pytest.mark.parametrize("case", ["prostate", "tg119"])
def test_an_outline_found_from_the_ct_is_the_drawn_one(case: str, request: pytest.FixtureRequest) -> None:
    patient: Patient = request.getfixturevalue(case)
    found, drawn = find_body(patient.ct, []), patient.body.mask
    assert 2 * (found & drawn).sum() / (found.sum() + drawn.sum()) > 0.995

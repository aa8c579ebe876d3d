"""Our DVH metrics against pymedphys and dicompyler-core, which read only the DICOM objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from radiarch_contract.job import JobSpec, StructureMetrics
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription
from radiarch_worker.dicom import encode, write_rtdose
from radiarch_worker.evaluation import Evaluation, evaluate
from radiarch_worker.model import Dose, Grid, Patient, PlanResult
from scipy.ndimage import map_coordinates

from tests.worker.dicom import waterbox

from .peers import PeerMetrics, dicompyler, pymedphys
from .real_cases import find_case, read_dose, read_patient

pytestmark = pytest.mark.slow

TOLERANCE_PERCENT = 0.5
"""Of the prescription."""

ONE_CONTOUR_A_SLICE = ("Prostate", "PTV", "Bladder", "Rectum")
"""All that pymedphys takes, and only where the dose has a plane on every contour."""

PROSTATE = find_case("prostate")
needs_prostate = pytest.mark.skipif(PROSTATE is None, reason="the real case is not beside this checkout")


def deviations_percent(ours: StructureMetrics, theirs: PeerMetrics, prescription_gy: float) -> dict[str, float]:
    names = ("d98_gy", "d95_gy", "d50_gy", "d2_gy")
    pairs = {name: (getattr(ours, name), getattr(theirs, name)) for name in names}
    pairs["mean"] = (ours.d_mean_gy, theirs.mean_gy)
    return {name: 100 * abs(a - b) / prescription_gy for name, (a, b) in pairs.items()}


@pytest.fixture(scope="module")
def prostate() -> Patient:
    assert PROSTATE is not None
    return read_patient(PROSTATE)


@pytest.fixture(scope="module")
def clinical() -> Dose:
    assert PROSTATE is not None
    return read_dose(PROSTATE / "RTDOSE.dcm")


def by_name(evaluation: Evaluation) -> dict[str, StructureMetrics]:
    return {m.structure: m for m in evaluation.metrics}


GY_76 = Prescription(target="PTV", dose_gy=76.0, fractions=35)


@pytest.mark.cases
@needs_prostate
def test_the_clinical_dose_of_the_prostate_case_has_its_known_metrics(prostate: Patient, clinical: Dose) -> None:
    found = by_name(evaluate(prostate, clinical, GY_76, [], {}))
    ptv = found["PTV"]
    assert 100 / 76 * np.array([ptv.d95_gy, ptv.d98_gy, ptv.d2_gy]) == pytest.approx([98.7, 97.9, 104.2], abs=0.5)
    assert found["Rectum"].d_mean_gy == pytest.approx(29.0, abs=0.38)
    assert found["Bladder"].d_mean_gy == pytest.approx(20.9, abs=0.38)
    assert found["Femoral_head_L"].d2_gy == pytest.approx(37.0, abs=0.38)
    assert found["Femoral_head_R"].d2_gy == pytest.approx(34.7, abs=0.38)


@pytest.mark.cases
@needs_prostate
def test_the_clinical_dose_as_dicompyler_has_it(prostate: Patient, clinical: Dose) -> None:
    assert PROSTATE is not None
    found = by_name(evaluate(prostate, clinical, GY_76, [], {}))
    # the clinical grid ends before BODY does
    organs = {s.roi_number: s.name for s in prostate.structures.values() if s.name != "BODY"}
    theirs = dicompyler(PROSTATE / "RTSTRUCT.dcm", PROSTATE / "RTDOSE.dcm", list(organs))
    assert len(theirs) == 6
    for number, peer in theirs.items():
        worst = deviations_percent(found[organs[number]], peer, 76)
        assert max(worst.values()) <= TOLERANCE_PERCENT, (organs[number], worst)


# The dose grid that planning uses on this CT: 3.6 x 3.6 x 2 mm on CT voxel centres; and coarser ones.
@pytest.mark.cases
@needs_prostate
@pytest.mark.parametrize(("stride", "noise_percent"), [((2, 2, 1), 0.0), ((2, 2, 1), 2.0), ((2, 2, 2), 2.0)])
def test_a_stored_coarse_noisy_dose_as_peers_read_it(
    prostate: Patient, clinical: Dose, tmp_path: Path, stride: tuple[int, int, int], noise_percent: float
) -> None:
    assert PROSTATE is not None
    rng = np.random.default_rng(2)
    grid = around_organs(prostate, stride)
    dose_gy = resampled(clinical, grid) * (1 + noise_percent / 100 * rng.standard_normal(grid.shape))
    dose = Dose(np.maximum(dose_gy, 0).astype(np.float32), grid, 1.1)
    path = stored(prostate, dose, GY_76, tmp_path)
    found = by_name(evaluate(prostate, dose, GY_76, [], {}))
    organs = {s.roi_number: s.name for s in prostate.structures.values() if s.name != "BODY"}
    theirs = [(organs[n], m) for n, m in dicompyler(PROSTATE / "RTSTRUCT.dcm", path, list(organs)).items()]
    if stride[2] == 1:
        theirs += pymedphys(PROSTATE / "RTSTRUCT.dcm", path, ONE_CONTOUR_A_SLICE).items()
    assert len(theirs) >= 6
    # D50% of the rectum lies where the dose falls fastest, and its hot end is a few voxels: their voxels that are
    # in or out as a whole move these by 0.6 % from one 3.6 mm grid to the next.
    limits = {"Rectum": 0.7}
    for name, peer in theirs:
        worst = deviations_percent(found[name], peer, 76)
        assert max(worst.values()) <= limits.get(name, TOLERANCE_PERCENT), (name, worst)


def around_organs(patient: Patient, stride: tuple[int, int, int]) -> Grid:
    """A dose grid on CT voxel centres that covers all but BODY, which would only cost time."""
    ct = patient.ct.grid
    organs = np.any([s.mask for s in patient.structures.values() if s.name != "BODY"], axis=0)
    origin, shape = [], []
    for axis in range(3):
        hit = np.flatnonzero(organs.any(axis=tuple(a for a in range(3) if a != 2 - axis)))
        first = max(int(hit[0]) - 4, 0)
        last = min(int(hit[-1]) + 4, ct.shape[2 - axis] - 1)
        first += (last - first) % stride[axis]  # end on a point: dicompyler leaves out contours beyond the grid
        origin.append(ct.origin_mm[axis] + first * ct.spacing_mm[axis])
        shape.append((last - first) // stride[axis] + 1)
    dx, dy, dz = (s * n for s, n in zip(ct.spacing_mm, stride, strict=True))
    return Grid((origin[0], origin[1], origin[2]), (dx, dy, dz), (shape[2], shape[1], shape[0]))


def resampled(dose: Dose, grid: Grid) -> np.ndarray:  # type: ignore[type-arg]
    places = [(grid.axis_mm(a) - dose.grid.origin_mm[a]) / dose.grid.spacing_mm[a] for a in (2, 1, 0)]
    return np.asarray(map_coordinates(dose.dose_gy, np.meshgrid(*places, indexing="ij"), order=1))


def stored(patient: Patient, dose: Dose, prescription: Prescription, folder: Path) -> Path:
    """The dose as our writer stores it."""
    model = waterbox.spec()
    target = next(s for s in patient.structures.values() if s.name == prescription.target)
    spec = JobSpec.model_validate(
        {
            **model.model_dump(),
            "patient_id": patient.ct.study.patient_id,
            "study_instance_uid": patient.ct.study.study_instance_uid,
            "rtstruct_sop_instance_uid": patient.rtstruct_sop_instance_uid,
            "prescription": prescription,
            "structures": (
                StructureRef(name=target.name, roi_number=target.roi_number, roi_name=target.name).model_dump(),
            ),
        }
    )
    plan = waterbox.plan()
    result = PlanResult(plan.beams, dose, 1.0, plan.machine, plan.provenance)
    path = folder / "rtdose.dcm"
    path.write_bytes(encode(write_rtdose(spec, patient, result, Evaluation((), (), ()))))
    return path

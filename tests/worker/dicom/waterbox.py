"""A small patient and plan made by hand: what the writers are tested on, without the engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from pydicom.uid import CTImageStorage, RTStructureSetStorage
from radiarch_contract.job import JobSpec
from radiarch_contract.structures import StructureRef
from radiarch_contract.uids import derive_uid
from radiarch_contract.workflows import ImptBasicParameters, Prescription
from radiarch_worker.ion import IonBeam, IonMachine, Layer
from radiarch_worker.model import CtVolume, Dose, Grid, Patient, PatientStudy, PlanResult, Structure
from radiarch_worker.position import PatientPosition

CT_GRID = Grid(origin_mm=(-61.3, -170.25, -40.0), spacing_mm=(1.8, 1.8, 2.0), shape=(40, 66, 70))
DOSE_GRID = Grid(
    origin_mm=(-61.3 + 2 * 1.8, -170.25 + 1.8, -40.0 + 2.0), spacing_mm=(3.6, 3.6, 2.0), shape=(37, 31, 33)
)
PTV, RECTUM, BODY = 3, 5, 1


@dataclass(frozen=True)
class Case:
    spec: JobSpec
    patient: Patient
    plan: PlanResult


def study(patient_name: str = "Müller^Zoë=山田^太郎") -> PatientStudy:
    return PatientStudy(
        patient_id="RAD-0001",
        patient_name=patient_name,
        patient_birth_date="19700131",
        patient_sex="O",
        study_instance_uid=derive_uid("waterbox", "study"),
        study_id="1",
        study_date="20240229",
        study_time="101112.5",
        study_description="Wasserkörper",
        accession_number="",
        referring_physician_name="",
    )


def box_contours(
    grid: Grid, low_mm: tuple[float, ...], high_mm: tuple[float, ...]
) -> list[tuple[float, npt.NDArray[np.float64]]]:
    (x0, y0, z0), (x1, y1, z1) = low_mm, high_mm
    square = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return [(float(z), square) for z in grid.axis_mm(2) if z0 <= z <= z1]


def box_structure(
    grid: Grid, number: int, name: str, kind: str, low: tuple[float, ...], high: tuple[float, ...]
) -> Structure:
    x, y, z = (grid.axis_mm(a) for a in range(3))
    inside = [(axis >= lo) & (axis <= hi) for axis, lo, hi in zip((x, y, z), low, high, strict=True)]
    mask = inside[2][:, None, None] & inside[1][None, :, None] & inside[0][None, None, :]
    return Structure(number, name, kind, mask, tuple(box_contours(grid, low, high)))


def patient(grid: Grid = CT_GRID) -> Patient:
    structures = {
        BODY: box_structure(grid, BODY, "BODY", "EXTERNAL", (-58, -166, -39), (60, -56, 37)),
        PTV: box_structure(grid, PTV, "PTV", "PTV", (-20, -130, -20), (20, -90, 20)),
        RECTUM: box_structure(grid, RECTUM, "Rectum", "ORGAN", (-15, -90, -20), (15, -70, 20)),
    }
    ct = CtVolume(
        hu=np.zeros(grid.shape, np.float32),
        grid=grid,
        frame_of_reference_uid=derive_uid("waterbox", "frame"),
        series_instance_uid=derive_uid("waterbox", "ct"),
        sop_class_uid=CTImageStorage,
        sop_instance_uids=tuple(derive_uid("waterbox", f"ct/{k}") for k in range(grid.shape[0])),
        patient_position=PatientPosition.HFS,
        study=study(),
    )
    return Patient(
        ct=ct,
        structures=structures,
        body=structures[BODY],
        rtstruct_sop_instance_uid=derive_uid("waterbox", "rtstruct"),
        rtstruct_sop_class_uid=RTStructureSetStorage,
    )


def smooth_dose(grid: Grid, prescription_gy: float = 60.0) -> npt.NDArray[np.float32]:
    """A plateau over the target that falls off within some millimetres; (Z, Y, X) Gy."""
    x, y, z = (grid.axis_mm(a) for a in range(3))
    center, half, fall_mm = (0.0, -110.0, 0.0), (23.0, 23.0, 23.0), 4.0
    profiles = [
        1 / (1 + np.exp((np.abs(axis - c) - h) / fall_mm)) for axis, c, h in zip((x, y, z), center, half, strict=True)
    ]
    dose = prescription_gy * profiles[2][:, None, None] * profiles[1][None, :, None] * profiles[0][None, None, :]
    return np.asarray(dose, np.float32)


def beams(seed: int = 7) -> tuple[IonBeam, ...]:
    rng = np.random.default_rng(seed)
    made = []
    for number, gantry in ((1, 90.0), (2, 270.0)):
        layers = []
        for energy in (151.3, 147.2086, 140.0, 133.33333333):
            n = int(rng.integers(1, 40))
            layers.append(
                Layer(
                    energy_mev=energy,
                    x_mm=rng.uniform(-40, 40, n),
                    y_mm=rng.uniform(-40, 40, n),
                    meterset_mu=rng.uniform(0.01, 3, n),
                    spot_fwhm_mm=(14.7, 14.9),
                )
            )
        made.append(IonBeam(number, f"G{gantry:03.0f}", gantry, 0.0, (-27.2, -110.125, 1 / 3), tuple(layers)))
    return tuple(made)


def plan(dose_grid: Grid = DOSE_GRID, *, rbe: float = 1.1) -> PlanResult:
    return PlanResult(
        beams=beams(),
        dose=Dose(smooth_dose(dose_grid), dose_grid, rbe),
        uncertainty_percent=1.83,
        machine=IonMachine("BDL_default_UN_RangeShifter", (2234.8, 1859.1), 410.0),
        provenance={
            "engine": "MCsquare",
            "engine_version": "opentps-core 2.0.0, MCsquare_linux_avx2",
            "machine": {"name": "BDL_default_UN_RangeShifter", "sha256": "ab" * 32},
            "ct_calibration": {"name": "UCL_Toshiba", "sha256": "cd" * 32},
            "seed": 1,
            "primaries": 10_000_000,
        },
        notes=("Nota bene: größer",),
    )


def spec() -> JobSpec:
    names = {"PTV": PTV, "Rectum": RECTUM, "BODY": BODY}
    return JobSpec(
        plan_id="0123456789abcdef0123456789abcdef",
        attempt=1,
        created_at=datetime(2024, 3, 1, 12, 30, 15, 250000, tzinfo=UTC),
        rtstruct_sop_instance_uid=derive_uid("waterbox", "rtstruct"),
        rtstruct_sha256="ef" * 32,
        patient_id="RAD-0001",
        study_instance_uid=derive_uid("waterbox", "study"),
        workflow_id="proton-impt-basic",
        protocol_id="prostate-two-lateral",
        protocol_sha256="01" * 32,
        prescription=Prescription(target="PTV", dose_gy=60.0, fractions=30),
        parameters=ImptBasicParameters().model_dump(mode="json"),
        goals=("PTV: D95% ≥ 95%",),
        structures=tuple(StructureRef(name=n, roi_number=r, roi_name=n) for n, r in names.items()),
    )


def case() -> Case:
    return Case(spec(), patient(), plan())

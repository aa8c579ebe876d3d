"""DVHs against shapes whose DVHs are known exactly, and against dicompyler-core on the clinical dose."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from radiarch_contract.job import StructureMetrics
from radiarch_contract.workflows import Prescription
from radiarch_worker.evaluation import evaluate
from scipy.optimize import brentq

from tests.worker.evaluation.peers import dicompyler
from tests.worker.evaluation.real_cases import read_dose, read_patient
from tests.worker.evaluation.shapes import CT, Contours, circle, coarse, cylinder, dose_of, patient, refs, sphere
from tests.worker.evaluation.shapes import structure as drawn

from .section import Section

PRESCRIBED = Prescription(target="PTV", dose_gy=60.0, fractions=30)
CENTER_MM = (1.3, -0.4, 0.7)
GRADIENT_GY_MM = 0.6
TOLERANCE_PERCENT = 0.5
_CONE_MM = 40.0
_VOLUMES = {"d98_gy": 0.98, "d95_gy": 0.95, "d50_gy": 0.5, "d2_gy": 0.02}


def _cone(height_mm: float, radius_mm: float) -> Contours:
    """Apex at the lower end; drawn on the slices within."""
    apex = CENTER_MM[2] - height_mm / 2
    places = ((float(z), (z - apex) / height_mm) for z in CT.axis_mm(2))
    return [(z, circle(CENTER_MM[:2], radius_mm * share)) for z, share in places if 0.02 < share <= 1]


def _sphere_beyond(t: float) -> float:
    """Share of a unit sphere beyond the plane at ``t`` from its centre."""
    return (1 - t) ** 2 * (2 + t) / 4


def _disc_beyond(t: float) -> float:
    return (math.acos(t) - t * math.sqrt(1 - t * t)) / math.pi


def analytic_dvhs() -> Section:
    """Sphere and cylinder across, cone along a linear gradient, on CT and coarser dose grids."""
    radius = 16.0
    shapes: list[tuple[str, Contours, tuple[float, float, float], float, Callable[[float], float]]] = [
        ("sphere, radius 16 mm", sphere(CT, CENTER_MM, radius), (1.0, 0.0, 0.0), radius, _sphere_beyond),
        ("cylinder, radius 16 mm", cylinder(CT, CENTER_MM, radius, 12), (0.0, 1.0, 0.0), radius, _disc_beyond),
    ]
    rows: list[list[str]] = []
    worst = 0.0
    for stride in ((1, 1, 1), (2, 2, 1), (2, 2, 2)):
        for name, contours, direction, half_mm, beyond in shapes:
            found = _metrics(contours, direction, stride)
            expected = {
                metric: 60 + GRADIENT_GY_MM * half_mm * _place(share, beyond) for metric, share in _VOLUMES.items()
            }
            worst = max(worst, _add(rows, name, stride, found, expected))
        found = _metrics(_cone(_CONE_MM, radius), (0.0, 0.0, 1.0), stride)
        # of a cone with its apex below, (1 - u³) lies above the share u of its height
        expected = {
            metric: 60 + GRADIENT_GY_MM * _CONE_MM * ((1 - share) ** (1 / 3) - 0.5)
            for metric, share in _VOLUMES.items()
        }
        worst = max(worst, _add(rows, "cone, 40 mm high, radius 16 mm", stride, found, expected))
    return Section(
        title="DVHs of shapes that are known exactly",
        how="Contours on slices of 2 mm, in a dose that rises by 0.6 Gy (1 % of the prescription of 60 Gy) a "
        "millimetre: across the sphere and the cylinder, along the cone's axis. Each cell: ours / exact, Gy.",
        header=("shape", "dose voxels, mm", "D98%", "D95%", "D50%", "D2%"),
        rows=rows,
        demands=[
            (
                f"within {TOLERANCE_PERCENT} % of the prescription",
                f"at most {worst:.2f} %",
                worst <= TOLERANCE_PERCENT,
            )
        ],
        workflows=("evaluation",),
    )


def _place(share: float, beyond: Callable[[float], float]) -> float:
    return float(brentq(lambda t: beyond(t) - share, -1, 1))


def _metrics(
    contours: Contours, direction: tuple[float, float, float], stride: tuple[int, int, int]
) -> StructureMetrics:
    subject = patient(drawn(7, "PTV", contours))
    dx, dy, dz = direction
    dose = dose_of(
        coarse(stride=stride),
        lambda x, y, z: np.maximum(
            60 + GRADIENT_GY_MM * (dx * (x - CENTER_MM[0]) + dy * (y - CENTER_MM[1]) + dz * (z - CENTER_MM[2])), 0
        ),
    )
    return evaluate(subject, dose, PRESCRIBED, [], refs(subject)).metrics[0]


def _add(
    rows: list[list[str]],
    name: str,
    stride: tuple[int, int, int],
    found: StructureMetrics,
    expected: dict[str, float],
) -> float:
    """One row; the greatest deviation in percent of the prescription."""
    voxels = " × ".join(f"{s * n:g}" for s, n in zip(CT.spacing_mm, stride, strict=True))
    rows.append([name, voxels, *(f"{getattr(found, m):.2f} / {gy:.2f}" for m, gy in expected.items())])
    return max(100 * abs(float(getattr(found, m)) - gy) / PRESCRIBED.dose_gy for m, gy in expected.items())


def clinical_dvhs(case: Path) -> Section:
    """The clinical RTDOSE of the prostate case: our metrics beside dicompyler-core's, from the same DICOM files."""
    prescribed = Prescription(target="PTV", dose_gy=76.0, fractions=35)
    subject = read_patient(case)
    ours = {m.structure: m for m in evaluate(subject, read_dose(case / "RTDOSE.dcm"), prescribed, [], {}).metrics}
    organs = {s.roi_number: s.name for s in subject.structures.values() if s.name != "BODY"}
    rows, worst = [], 0.0
    for number, theirs in dicompyler(case / "RTSTRUCT.dcm", case / "RTDOSE.dcm", list(organs)).items():
        mine = ours[organs[number]]
        pairs = [
            (mine.d_mean_gy, theirs.mean_gy),
            *((getattr(mine, m), getattr(theirs, m)) for m in _VOLUMES),
        ]
        worst = max(worst, *(100 * abs(a - b) / prescribed.dose_gy for a, b in pairs))
        volume = f"{mine.volume_cc:.1f} / {theirs.volume_cc:.1f}"
        rows.append([organs[number], volume, *(f"{a:.2f} / {b:.2f}" for a, b in pairs)])
    return Section(
        title="DVHs of a clinical dose beside dicompyler-core",
        how="Case `prostate`, the planning system's own RTDOSE (3 mm) with the clinical structures; ours / "
        "dicompyler-core.",
        header=("structure", "volume, cc", "mean, Gy", "D98%, Gy", "D95%, Gy", "D50%, Gy", "D2%, Gy"),
        rows=rows,
        demands=[
            (f"within {TOLERANCE_PERCENT} % of the prescription", f"at most {worst:.2f} %", worst <= TOLERANCE_PERCENT)
        ],
        workflows=("evaluation",),
    )

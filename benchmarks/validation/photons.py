"""The collapsed cone in water: against measurements of a linac, published output factors, and laws of geometry."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from radiarch_worker.commissioning.linac import penumbra_mm
from radiarch_worker.engines.collapsedcone import Aperture, gy_per_mu, plan_dose, water_depth_dose, water_dose
from radiarch_worker.machines.photon_machine import GENERIC_LINAC, photon_machine
from radiarch_worker.model import FloatVolume, Grid
from radiarch_worker.photon import ControlPoint, FluenceMode, PhotonBeam, Rotation
from radiarch_worker.position import PatientPosition

from .section import Section

FloatArray = npt.NDArray[np.float64]

MACHINE = photon_machine(GENERIC_LINAC)
ENERGY = MACHINE.energy(6.0)
THREADS = len(os.sched_getaffinity(0))
WORKFLOWS: Sequence[str] = ()
SPACING_MM = 3.0

# Depth doses of an Elekta linac, 6 MV, SSD 90 cm, ionization chamber in water, percent of the maximum; from the files
# data/measured_csv of https://github.com/inata169/phits-linac-validation (MIT)
DEPTHS_MM = (20.0, 30.0, 50.0, 80.0, 100.0, 120.0, 150.0, 200.0, 250.0)
MEASURED = {
    50.0: (98.5, 93.8, 83.8, 70.1, 62.1, 55.0, 45.7, 33.8, 25.2),
    100.0: (98.5, 94.2, 85.4, 73.0, 65.5, 58.5, 49.4, 37.3, 28.2),
    300.0: (98.1, 94.4, 87.0, 76.5, 69.8, 63.7, 55.2, 43.4, 33.9),
}
MEASURED_PENUMBRA_MM = 7.6
"""From 80 to 20 %, of the same linac's profiles at 10 cm in 10 x 10 cm, mean of four edges, by a chamber of some mm."""
MEASURED_OUTSIDE = {20.0: 7.0, 30.0: 5.1, 50.0: 3.1}
"""Percent of the axis, mm outside the edge of the same profile."""

# Fields that leaves shape within jaws at 10 x 10 cm, 6 MV, 10 cm deep, 100 cm to the source's axis: means of what IROC
# Houston measured on Elekta's and Siemens' machines, doi:10.1120/jacmp.v13i5.3962, tables 2 and 3
PUBLISHED_FACTORS = {60.0: (0.914, 0.930), 40.0: (0.855, 0.878), 30.0: (0.820, 0.842), 20.0: (0.764, 0.790)}


def square(side_mm: float) -> Aperture:
    """A field of the jaws."""
    half = side_mm / 2
    return Aperture(None, (-half, half), (-half, half))


def of_leaves(side_mm: float, jaws_mm: float) -> Aperture:
    """A square of leaves within jaws."""
    edges, half = np.asarray(MACHINE.file.mlc.boundaries_mm), side_mm / 2
    is_open = (edges[1:] > -half + 0.01) & (edges[:-1] < half - 0.01)
    leaves = np.stack([np.where(is_open, -half, 0.0), np.where(is_open, half, 0.0)])
    return replace(square(jaws_mm), leaves_mm=leaves)


def depth_doses() -> Section:
    """Depth doses beside those of a linac, and the specification of another vendor."""
    rows, worst = [], 0.0
    for side, measured in MEASURED.items():
        dose, depth = water_depth_dose(MACHINE.file, ENERGY, square(side), 900.0, 320.0, SPACING_MM, THREADS)
        ours = 100 * np.interp(DEPTHS_MM, depth, dose) / dose.max()
        worst = max(worst, float(np.abs(ours - measured).max()))
        rows.append(
            [f"{side / 10:g} x {side / 10:g}", *(f"{o:.1f} / {m:.1f}" for o, m in zip(ours, measured, strict=True))]
        )
    dose, depth = water_depth_dose(MACHINE.file, ENERGY, square(100.0), 1000.0, 320.0, 2.0, THREADS)
    at_10 = float(100 * np.interp(100.0, depth, dose) / dose.max())
    peak = float(depth[np.argmax(dose)])
    return Section(
        title="Photon depth doses in water",
        how=f"`{GENERIC_LINAC}` by the collapsed cone on voxels of {SPACING_MM:g} mm, percent of the maximum, beside "
        "an Elekta linac of 6 MV (ionization chamber, 90 cm to the surface; "
        "[inata169/phits-linac-validation](https://github.com/inata169/phits-linac-validation), MIT). The spectrum of "
        "the machine file was fitted to these curves; the kernels were not. Each cell: ours / measured.",
        header=("field, cm", *(f"{d / 10:g} cm" for d in DEPTHS_MM)),
        rows=rows,
        demands=[
            ("within 1 % of the maximum beyond 1 cm", f"at most {worst:.2f} %", worst <= 1.0),
            ("10 x 10 cm, 100 cm to the surface: 67 ± 1 % at 10 cm (Varian's specification of 6 MV)",
             f"{at_10:.1f} %", abs(at_10 - 67.0) <= 1.0),
            ("its maximum at 14.5 to 17.5 mm (the same)", f"{peak:.0f} mm on voxels of 2 mm", 14.5 <= peak <= 17.5),
        ],
        workflows=WORKFLOWS,
    )  # fmt: skip


def output_factors() -> Section:
    """Dose per MU of small fields of leaves, and what one MU is."""
    reference = _at(of_leaves(100.0, 100.0))
    rows, holds, worst = [], True, 0.0
    for side, published in PUBLISHED_FACTORS.items():
        ours = _at(of_leaves(side, 100.0)) / reference
        low, high = published
        off = 100 * (ours / np.mean(published) - 1)
        worst = max(worst, abs(float(off)))
        holds = holds and 0.985 * low <= ours <= 1.015 * high
        rows.append([f"{side / 10:g} x {side / 10:g}", f"{ours:.3f}", f"{low:.3f} to {high:.3f}", f"{off:+.1f} %"])
    given = ENERGY.calibration
    axis, depth = water_depth_dose(MACHINE.file, ENERGY, square(100.0), 1000.0, 150.0, SPACING_MM, THREADS)
    per_mu = 100 * float(np.interp(given.depth_mm, depth, axis)) * gy_per_mu(MACHINE.file, ENERGY, SPACING_MM)
    return Section(
        title="Photon output factors",
        how="Dose in fields that leaves shape within jaws at 10 x 10 cm, 10 cm deep, source at 100 cm, relative to 10 "
        "x 10 cm, beside the means that IROC Houston measured at 6 MV on two vendors' machines "
        "([doi:10.1120/jacmp.v13i5.3962](https://doi.org/10.1120/jacmp.v13i5.3962), tables 2 and 3). "
        f"`{GENERIC_LINAC}` is neither's.",
        header=("field, cm", "ours", "published", "ours against their mean"),
        rows=rows,
        demands=[
            ("within 1.5 % of the published range", f"at most {worst:.1f} % from the mean of both", holds),
            ("1 cGy/MU at the calibration condition", f"{per_mu:.4f} cGy/MU", abs(per_mu - 1.0) < 2e-3),
        ],
        workflows=WORKFLOWS,
    )


def _at(aperture: Aperture) -> float:
    dose, depth = water_depth_dose(MACHINE.file, ENERGY, aperture, 900.0, 200.0, 2.0, THREADS)
    return float(np.interp(100.0, depth, dose))


def profiles() -> Section:
    """Penumbra and dose outside the field."""
    volume, grid = water_dose(MACHINE.file, ENERGY, square(100.0), 900.0, 180.0, 2.0, THREADS)
    z = grid.axis_mm(2)
    n = int(np.argmin(np.abs(z + 100.0)))
    at = grid.axis_mm(0)
    line = volume[n, grid.shape[1] // 2].astype(np.float64)
    width = penumbra_mm(at, line)
    relative = 100 * line / line[len(at) // 2]
    edge = 50.0 * (900.0 - float(z[n])) / 1000.0
    rows = [["penumbra, 80 to 20 %", f"{width:.1f} mm", f"{MEASURED_PENUMBRA_MM:.1f} mm"]]
    worst = 0.0
    for beyond, measured in MEASURED_OUTSIDE.items():
        ours = float(np.interp(edge + beyond, at, relative))
        worst = max(worst, abs(ours - measured))
        rows.append([f"{beyond / 10:g} cm outside the field", f"{ours:.1f} %", f"{measured:.1f} %"])
    return Section(
        title="Photon profiles in water",
        how="10 x 10 cm of the jaws, 10 cm deep, 90 cm to the surface, percent of the axis, voxels of 2 mm; measured: "
        "the same linac as above, mean of X and Y.",
        header=("", "ours", "measured"),
        rows=rows,
        demands=[
            (
                "penumbra within 1.5 mm (the chamber widens it)",
                f"{width - MEASURED_PENUMBRA_MM:+.1f} mm",
                abs(width - MEASURED_PENUMBRA_MM) <= 1.5,
            ),
            ("outside the field within 1.5 % of the axis", f"at most {worst:.1f} %", worst <= 1.5),
        ],
        workflows=WORKFLOWS,
    )


@dataclass(frozen=True)
class Angle:
    """Where the middle of a field that is open from x 10 to 40 of the collimator lies, patient LPS."""

    position: PatientPosition
    gantry: float
    couch: float
    collimator: float
    expected_mm: tuple[float | None, float | None, float | None]


HFS, FFS, HFP = PatientPosition.HFS, PatientPosition.FFS, PatientPosition.HFP
ANGLES = (
    Angle(HFS, 0, 0, 0, (25, None, 0)),
    Angle(HFS, 90, 0, 0, (None, 25, 0)),
    Angle(HFS, 180, 0, 0, (-25, None, 0)),
    Angle(HFS, 270, 0, 0, (None, -25, 0)),
    Angle(HFS, 0, 0, 90, (0, None, 25)),
    Angle(HFS, 0, 90, 0, (0, None, -25)),
    Angle(FFS, 0, 0, 0, (-25, None, 0)),
    Angle(FFS, 0, 0, 90, (0, None, -25)),
    Angle(HFP, 0, 0, 0, (-25, None, 0)),
)


def angles() -> Section:
    """Signs of gantry, couch and collimator for patients who lie in different ways."""
    grid = Grid((-78.0, -78.0, -78.0), (4.0, 4.0, 4.0), (40, 40, 40))
    water: FloatVolume = np.ones(grid.shape, dtype=np.float32)
    rows, worst = [], 0.0
    for a in ANGLES:
        dose = plan_dose(water, grid, [_field(a)], a.position, MACHINE, THREADS)
        found = _middle_mm(dose, grid, a.expected_mm)
        off = max(abs(f - e) for f, e in zip(found, a.expected_mm, strict=True) if e is not None)
        worst = max(worst, off)
        rows.append(
            [a.position.value, f"{a.gantry:g} / {a.couch:g} / {a.collimator:g}", _point(a.expected_mm), _point(found)]
        )
    return Section(
        title="Photon angles by IEC 61217",
        how="A field that is open from 10 to 40 mm on X of the collimator, in a cube of water about the isocenter: the "
        "middle of what has more than half of the dose on the plane through the isocenter. Expected from the "
        "standard's rotations by hand; a dash is the direction of the beam.",
        header=("patient", "gantry / couch / collimator", "expected x, y, z, mm", "found"),
        rows=rows,
        demands=[("within 1 mm", f"at most {worst:.2f} mm", worst <= 1.0)],
        workflows=WORKFLOWS,
    )


def _field(angle: Angle) -> PhotonBeam:
    points = tuple(ControlPoint(angle.gantry, mu, None, (10.0, 40.0), (-15.0, 15.0)) for mu in (0.0, 100.0))
    return PhotonBeam(
        number=1,
        name="1",
        gantry_deg=angle.gantry,
        couch_deg=angle.couch,
        isocenter_mm=(0.0, 0.0, 0.0),
        collimator_deg=angle.collimator,
        energy_mv=6.0,
        fluence=FluenceMode.FLATTENED,
        rotation=Rotation.NONE,
        control_points=points,
        leaf_boundaries_mm=None,
    )


def _middle_mm(dose: FloatVolume, grid: Grid, expected: Sequence[float | None]) -> list[float]:
    along = next(axis for axis in range(3) if expected[axis] is None)
    middle = grid.shape[2 - along] // 2
    plane = dose.take([middle - 1, middle], axis=2 - along).sum(axis=2 - along)
    found = [0.0, 0.0, 0.0]
    kept = [axis for axis in (2, 1, 0) if axis != along]
    inside = np.argwhere(plane > 0.5 * plane.max()).mean(axis=0)
    for axis, index in zip(kept, inside, strict=True):
        found[axis] = grid.origin_mm[axis] + grid.spacing_mm[axis] * float(index)
    return found


def _point(values: Sequence[float | None]) -> str:
    return ", ".join("–" if v is None else f"{v:.0f}" for v in values)


def oblique() -> Section:
    """The same field at oblique incidence, and voxels along and across the beam."""
    grid = Grid((-119.0, -119.0, -40.5), (2.0, 2.0, 3.0), (28, 120, 120))
    water: FloatVolume = np.ones(grid.shape, dtype=np.float32)
    inside = np.hypot(grid.axis_mm(1)[:, None], grid.axis_mm(0)[None, :]) < 100.0
    water *= inside
    reference, rows, worst = 0.0, [], 0.0
    for gantry in (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0):
        points = tuple(ControlPoint(gantry, mu, None, (-20.0, 20.0), (-20.0, 20.0)) for mu in (0.0, 100.0))
        beam = replace(_field(Angle(HFS, gantry, 0, 0, (None, 0, 0))), gantry_deg=gantry, control_points=points)
        dose = plan_dose(water, grid, [beam], HFS, MACHINE, THREADS)
        middle = float(dose[12:15, 59:61, 59:61].mean())
        reference = reference or middle
        off = 100 * (middle / reference - 1)
        worst = max(worst, abs(off))
        rows.append([f"{gantry:g}°", f"{100 * middle:.2f} cGy", f"{off:+.2f} %"])
    return Section(
        title="Photon beams between the grid's axes",
        how="A field of 4 x 4 cm and 100 MU to the middle of a cylinder of water of 20 cm, from directions between "
        "the axes of voxels of 2 x 2 x 3 mm: the dose in the middle does not depend on the angle.",
        header=("gantry", "dose", "against 0°"),
        rows=rows,
        demands=[("within 1 %", f"at most {worst:.2f} %", worst <= 1.0)],
        workflows=WORKFLOWS,
    )

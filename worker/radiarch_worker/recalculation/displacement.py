"""How each beam would have to be changed to give the reference: its meterset, how far it reaches, where it lies.

Gamma tolerates three millimetres and three percent everywhere, and so it tolerates errors of a beam as a whole. These
move or scale all of the beam's dose alike, which many voxels show together: to first order the reference is the sum of
the computed beams, each with a factor and a shift, and a least-squares fit of a few numbers a beam finds them to a few
tenths of a millimetre, where each voxel has 3 % of noise. Along its direction a beam of photons has no edge: a shift
there is as a factor, and is not fitted. An arc has no direction, and is shifted along the axes of gantry 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from radiarch_contract.job import BeamAgreement
from scipy import ndimage

from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.evaluation import ReadDose
from radiarch_worker.evaluation.comparison import body_on, known_on, resampled
from radiarch_worker.ion import IonBeam
from radiarch_worker.model import Beam, BoolVolume, FloatVolume, Grid, Patient
from radiarch_worker.photon import PhotonBeam, Rotation

SMOOTHED_MM = 3.0
"""Standard deviation by which both doses are smoothed: noise shrinks, a factor or shift stays."""
LEAST_DOSE = 0.1
"""Of the reference's maximum: below it neither dose is looked at."""
LEAST_BEAM = 0.01
"""Of the whole dose's maximum: a beam with less gives nothing that could be compared."""
SAME_DIRECTION_DEG = 10.0
"""Beams nearer to each other than this are not judged: their doses are too alike to be separated."""
LEAST_POINTS = 200


Along = Literal["range", "arc", "nothing"]
"""What a shift along the axes' direction is: of the range, of an arc as one to the sides, or not to be seen."""


def _of_photons(beam: PhotonBeam) -> tuple[float, Along]:
    return (beam.gantry_deg, "nothing") if beam.rotation is Rotation.NONE else (0.0, "arc")


_AXES: Mapping[type[Beam], Callable[[Any], tuple[float, Along]]] = {
    IonBeam: lambda beam: (beam.gantry_deg, "range"),
    PhotonBeam: _of_photons,
}
"""Gantry angle of the axes along which beams are shifted, and what the direction means, by the type of beam."""


@dataclass(frozen=True)
class _Group:
    """Beams of one direction, with the sum of their doses."""

    beams: tuple[Beam, ...]
    axes: BeamAxes
    dose_gy: FloatVolume
    along: Along

    @property
    def directions(self) -> tuple[npt.NDArray[np.float64], ...]:
        """In which it is shifted."""
        sides = (self.axes.x, self.axes.y)
        return sides if self.along == "nothing" else (*sides, self.axes.direction)


def beam_agreement(
    beams: Sequence[Beam],
    beams_gy: Sequence[FloatVolume],
    grid: Grid,
    reference: ReadDose,
    patient: Patient,
) -> tuple[tuple[BeamAgreement, ...], str | None]:
    """Fit factors and shifts of the beams to a reference.

    Parameters
    ----------
    beams_gy : (Z, Y, X) Gy on ``grid``, of each beam; their sum is what is compared

    Returns
    -------
    tuple
        What was found, and why nothing was (None where it was).
    """
    groups = _grouped(beams, beams_gy, patient)
    whole = np.sum([g.dose_gy for g in groups], axis=0)
    for group in groups:
        if group.dose_gy.max() < LEAST_BEAM * whole.max():
            return (), f"{_name(group.beams)} gives no dose to the patient"
    wanted = _smoothed(resampled(reference.dose_gy, reference.grid, grid), grid)
    smooth = [_smoothed(g.dose_gy, grid) for g in groups]
    where = _inner(patient, grid, reference)
    where &= np.maximum(wanted, np.sum(smooth, axis=0)) >= LEAST_DOSE * wanted[where].max(initial=0.0)
    if np.count_nonzero(where) < LEAST_POINTS:
        return (), "the two doses have too few points in common"
    columns = [c for g, dose in zip(groups, smooth, strict=True) for c in _columns(g, dose, grid, where)]
    found = _least_squares(np.column_stack(columns), wanted[where], grid)
    if found is None:
        return (), "the beams' doses are too alike to be separated"
    ends = np.cumsum([1 + len(g.directions) for g in groups])[:-1]
    values, sigmas = (np.split(v, ends) for v in found)
    return tuple(_agreement(g, v, s) for g, v, s in zip(groups, values, sigmas, strict=True)), None


def _grouped(beams: Sequence[Beam], beams_gy: Sequence[FloatVolume], patient: Patient) -> list[_Group]:
    groups: list[_Group] = []
    for beam, dose in zip(beams, beams_gy, strict=True):
        gantry_deg, along = _AXES[type(beam)](beam)
        axes = BeamAxes.of(gantry_deg, beam.couch_deg, patient.ct.patient_position)
        for i, group in enumerate(groups):
            near = axes.direction @ group.axes.direction > math.cos(math.radians(SAME_DIRECTION_DEG))
            if near and along == group.along:
                groups[i] = _Group((*group.beams, beam), group.axes, group.dose_gy + dose, along)
                break
        else:
            groups.append(_Group((beam,), axes, dose, along))
    return groups


def _smoothed(dose_gy: FloatVolume, grid: Grid) -> npt.NDArray[np.float64]:
    sigma = [SMOOTHED_MM / grid.spacing_mm[a] for a in (2, 1, 0)]
    smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter(dose_gy.astype(np.float64), sigma)
    return smooth


def _inner(patient: Patient, grid: Grid, reference: ReadDose) -> BoolVolume:
    """Inside BODY and both grids, away from their edges: beyond them the smoothed doses are of unlike things."""
    known = np.pad(body_on(patient, grid) & known_on(grid, reference.grid), 1)  # the grid's own edge is one, too
    distance = ndimage.distance_transform_edt(known, sampling=grid.spacing_mm[::-1])[1:-1, 1:-1, 1:-1]
    return np.asarray(distance > 2 * SMOOTHED_MM)


def _columns(
    group: _Group, dose: npt.NDArray[np.float64], grid: Grid, where: BoolVolume
) -> list[npt.NDArray[np.float64]]:
    """What a factor, and a millimetre in each of the group's directions, would add at the points."""
    gradient = np.gradient(dose, *(grid.spacing_mm[a] for a in (2, 1, 0)))
    xyz = np.stack([gradient[2][where], gradient[1][where], gradient[0][where]], axis=-1)
    return [dose[where], *(-(xyz @ axis) for axis in group.directions)]


def _least_squares(
    columns: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], grid: Grid
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Coefficients and their standard uncertainties; None where the columns do not determine them."""
    size = np.linalg.norm(columns, axis=0)
    if not (size > 0).all():
        return None
    normal = (columns / size).T @ (columns / size)
    if np.linalg.cond(normal) > 1e8:
        return None
    values = np.linalg.solve(normal, (columns / size).T @ wanted) / size
    # Smoothing makes what is left over alike in neighbouring voxels: so many of them count as one.
    alike = max(1.0, (2 * math.sqrt(math.pi) * SMOOTHED_MM) ** 3 / (grid.voxel_cc * 1000))
    variance = float(np.mean((wanted - columns @ values) ** 2)) * alike
    sigmas = np.sqrt(np.diag(np.linalg.inv(normal)) * variance) / size
    return (values, sigmas) if np.isfinite([values, sigmas]).all() else None


def _agreement(group: _Group, values: npt.NDArray[np.float64], sigmas: npt.NDArray[np.float64]) -> BeamAgreement:
    factor = float(values[0])
    # Fitted are a factor and its products with the shifts: f D(p - s) is f D - f s D' to first order. A beam of which
    # hardly anything is there fails by its factor, and has no position that could be measured.
    there = max(factor, 0.5)
    x, y, *rest = (float(v) / there for v in values[1:])
    sigma_x, sigma_y, *sigma_rest = (float(s) / there for s in sigmas[1:])
    ranges = group.along == "range"
    sides = (sigma_x, sigma_y) if ranges else (sigma_x, sigma_y, *sigma_rest)
    return BeamAgreement(
        number=group.beams[0].number,
        name=_name(group.beams),
        meterset_percent=100 * (factor - 1),
        range_mm=rest[0] if ranges else None,
        shift_x_mm=x,
        shift_y_mm=y,
        shift_z_mm=-rest[0] if group.along == "arc" else None,
        meterset_uncertainty_percent=100 * float(sigmas[0]),
        range_uncertainty_mm=sigma_rest[0] if ranges else None,
        shift_uncertainty_mm=max(sides),
    )


def _name(beams: Sequence[Beam]) -> str:
    if len(beams) == 1:
        return f"beam {beams[0].number} ({beams[0].name})"
    return f"beams {', '.join(str(b.number) for b in beams)}"

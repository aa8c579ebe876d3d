"""The CT as MCsquare transports through it: cropped to BODY, air outside, HU within the calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import CtVolume, FloatVolume, Grid, Structure
from radiarch_worker.position import PatientPosition

from .calibration import Calibration
from .metals import METAL_HU

AIR_HU = -1000.0
_MARGIN_MM = 10.0
"""Air around BODY that stays in the engine's CT."""
HU_ABSURD = 20_000.0
CLIPPED_MAX_CC = 2.0
"""More of BODY above the calibration than this is an implant, not a marker or a filling."""


@dataclass(frozen=True)
class EngineCt:
    """What the engine gets.

    Attributes
    ----------
    hu : (Z, Y, X) float32 on ``grid``, air outside BODY; patient LPS, as the CT itself
    grid : the CT's voxels, cropped or padded by whole voxels
    """

    hu: FloatVolume
    grid: Grid
    patient_position: PatientPosition
    notes: tuple[str, ...] = ()


def prepare_ct(ct: CtVolume, body: Structure, calibration: Calibration, *, cover: Grid | None = None) -> EngineCt:
    """Crop the CT to BODY, set air outside of it and bring its HU into the calibration.

    Voxels of BODY denser than the calibration's last point get that point's density, and a note says
    how much that is; where it is more than `CLIPPED_MAX_CC`, the CT is refused, since the dose behind an
    implant of unknown density would be wrong. HU below air become air.

    Parameters
    ----------
    cover
        A grid that the result has to contain wholly, such as the scoring grid.

    Raises
    ------
    InputRefusedError
        ``hu_out_of_calibration``; ``no_body`` when BODY holds no voxel.
    """
    if not body.mask.any():
        raise InputRefusedError(
            f"structure {body.name!r} holds no voxel of the CT",
            remedy="Draw the patient's outline (BODY) on this CT.",
            code=ErrorCode.NO_BODY,
        )
    notes = (*calibration.notes, *_refuse_hu(ct, body, calibration), "CT outside BODY is counted as air.")
    start, stop = _index_range(ct.grid, body, cover)
    shape = (stop[2] - start[2], stop[1] - start[1], stop[0] - start[0])
    hu = np.full(shape, AIR_HU, dtype=np.float32)
    source, target = _overlap(start, stop, ct.grid.shape)
    hu[target] = np.where(body.mask[source], _reached(ct, source, calibration), AIR_HU)
    origin = tuple(o + s * d for o, s, d in zip(ct.grid.origin_mm, start, ct.grid.spacing_mm, strict=True))
    grid = Grid((origin[0], origin[1], origin[2]), ct.grid.spacing_mm, shape)
    return EngineCt(hu, grid, ct.patient_position, notes)


def _refuse_hu(ct: CtVolume, body: Structure, calibration: Calibration) -> tuple[str, ...]:
    """Refuse HU inside BODY that the calibration is not for; a note where few voxels are beyond its end."""
    inside = ct.hu[body.mask]
    if ct.has_metals:
        inside = inside[inside < METAL_HU]
    if not inside.size:
        inside = np.array([AIR_HU], dtype=np.float32)
    low, high = float(inside.min()), float(inside.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < calibration.hu_min or high > HU_ABSURD:
        raise InputRefusedError(
            f"HU inside {body.name!r} range from {low:.0f} to {high:.0f}; "
            f"expected {calibration.hu_min:.0f} to {HU_ABSURD:.0f}",
            remedy="Check rescale slope, intercept and padding of the CT's images.",
            code=ErrorCode.HU_OUT_OF_CALIBRATION,
            calibration=calibration.name,
        )
    clipped = int(np.count_nonzero(inside > calibration.hu_max))
    if not clipped:
        return ()
    volume_cc = clipped * ct.grid.voxel_cc
    if volume_cc > CLIPPED_MAX_CC:
        raise InputRefusedError(
            f"{volume_cc:.1f} cm³ of {body.name!r} have more than {calibration.hu_max:.0f} HU (up to {high:.0f}), "
            f"where the calibration {calibration.name} ends",
            remedy="Override the density of implants in the CT, or use a calibration that covers them.",
            code=ErrorCode.HU_OUT_OF_CALIBRATION,
            volume_cc=volume_cc,
            hu_max=high,
        )
    return (
        f"{volume_cc:.2f} cm³ of the patient have more than {calibration.hu_max:.0f} HU (up to {high:.0f}): "
        f"counted with the density at {calibration.hu_max:.0f} HU, the end of calibration {calibration.name}.",
    )


def _reached(ct: CtVolume, source: tuple[slice, ...], calibration: Calibration) -> FloatVolume:
    """HU within the calibration; metals are in it where the CT has some."""
    hu = ct.hu[source]
    reached: FloatVolume = np.clip(hu, np.float32(AIR_HU), np.float32(calibration.hu_max))
    return np.where(hu >= METAL_HU, hu, reached) if ct.has_metals else reached


def _index_range(grid: Grid, body: Structure, cover: Grid | None) -> tuple[list[int], list[int]]:
    """First and one past last CT index on x, y, z that the engine's CT has; may lie outside the CT."""
    start, stop = [], []
    for axis in range(3):
        numpy_axis = 2 - axis
        used = np.flatnonzero(body.mask.any(axis=tuple(a for a in range(3) if a != numpy_axis)))
        margin = int(np.ceil(_MARGIN_MM / grid.spacing_mm[axis]))
        lo, hi = int(used[0]) - margin, int(used[-1]) + 1 + margin
        if cover is not None:
            first = cover.origin_mm[axis] - cover.spacing_mm[axis] / 2
            last = first + cover.spacing_mm[axis] * cover.shape[numpy_axis]
            edge = grid.origin_mm[axis] - grid.spacing_mm[axis] / 2
            lo = min(lo, int(np.floor((first - edge) / grid.spacing_mm[axis] - 1e-6)))
            hi = max(hi, int(np.ceil((last - edge) / grid.spacing_mm[axis] + 1e-6)))
        start.append(lo)
        stop.append(hi)
    return start, stop


def _overlap(
    start: list[int], stop: list[int], shape: tuple[int, int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices (Z, Y, X) of the CT and of the engine's CT that show the same voxels."""
    source, target = [], []
    for axis in (2, 1, 0):
        lo, hi = max(0, start[axis]), min(shape[2 - axis], stop[axis])
        source.append(slice(lo, hi))
        target.append(slice(lo - start[axis], hi - start[axis]))
    return tuple(source), tuple(target)

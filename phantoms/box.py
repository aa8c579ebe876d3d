"""A tiny water box with a target and an organ at risk, for tests that have to be quick."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .shapes import Box, Vector3, vector
from .study import PhantomRoi, PhantomStudy, make_study

AIR_HU = -1000.0
_IntArray = npt.NDArray[np.int_]


def box(
    *,
    shape: tuple[int, int, int] = (30, 40, 40),
    spacing_mm: Vector3 = (4.0, 4.0, 4.0),
    origin_mm: Vector3 | None = None,
    target_mm: float = 32.0,
    margin_mm: float = 12.0,
    hu: float = 0.0,
    target_name: str = "PTV",
    patient_id: str = "RADIARCH-BOX",
    patient_name: str = "Phantom^Box",
    study_description: str = "Radiarch water box",
    series_description: str = "CT water box",
    seed: str | None = None,
) -> PhantomStudy:
    """A water box in air with a cubic target in its middle.

    Every face lies on a voxel's face, so the masks' volumes are the shapes' volumes exactly.

    Parameters
    ----------
    shape : (nz, ny, nx)
    spacing_mm : (x, y, z)
    origin_mm : centre of the first voxel; None puts the box's middle at the frame's origin
    target_mm : edge of the target, rounded to whole voxels
    margin_mm : air between the water and the image's edge in x and y, rounded to whole voxels
    hu : of the box; 0 is water
    seed : None for fresh UIDs, else UIDs derived from it
    """
    count = np.array(shape[::-1])
    spacing = np.array(spacing_mm)
    origin = -(count - 1) / 2 * spacing if origin_mm is None else np.array(origin_mm, dtype=float)

    def cuboid(first: _IntArray, voxels: _IntArray) -> Box:
        size = voxels * spacing
        centre = origin + (first - 0.5) * spacing + size / 2
        return Box(vector(centre), vector(size))

    margin = np.rint(np.array([margin_mm, margin_mm, 0.0]) / spacing).astype(int)
    body = cuboid(margin, count - 2 * margin)
    target_voxels = np.maximum(np.rint(target_mm / spacing).astype(int), 1)
    target_first = (count - target_voxels) // 2
    target = cuboid(target_first, target_voxels)
    # The organ touches the target's posterior face and is half as deep.
    organ_voxels = np.array([target_voxels[0], max(target_voxels[1] // 2, 1), target_voxels[2]])
    organ = cuboid(target_first + np.array([0, target_voxels[1], 0]), organ_voxels)

    nz, ny, nx = shape
    z, y, x = np.meshgrid(
        *(origin[a] + spacing[a] * np.arange(n) for a, n in ((2, nz), (1, ny), (0, nx))), indexing="ij"
    )
    volume = np.where(body.contains(x, y, z), hu, AIR_HU).astype(np.float32)
    rois = [
        PhantomRoi("BODY", body, "EXTERNAL", (0, 255, 0)),
        PhantomRoi(target_name, target, "PTV", (255, 0, 0)),
        PhantomRoi("OAR", organ, "ORGAN", (0, 0, 255)),
    ]
    return make_study(
        volume,
        rois,
        origin_mm=vector(origin),
        spacing_mm=spacing_mm,
        patient_id=patient_id,
        patient_name=patient_name,
        study_description=study_description,
        series_description=series_description,
        seed=seed,
    )

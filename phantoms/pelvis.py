"""A male pelvis drawn from geometry: what the demo plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .shapes import Box, Cylinder, Ellipsoid, Vector3, vector
from .study import PhantomRoi, PhantomStudy, make_study
from .tissues import FAT_HU, MUSCLE_HU, Tissue, bone, paint

# Patient LPS millimetres, the prostate's middle at (0, 0, 0): +x is the patient's left, +y posterior, +z superior.
BODY = Cylinder((0.0, -10.0, 0.0), (176.0, 112.0), 600.0)
PTV = Ellipsoid((0.0, 0.0, 0.0), (28.0, 24.0, 27.0))
PROSTATE = Ellipsoid((0.0, 0.0, 0.0), (22.0, 18.0, 21.0))
BLADDER = Ellipsoid((0.0, -22.0, 44.0), (42.0, 32.0, 26.0))
RECTUM = Cylinder((0.0, 34.0, 0.0), (16.0, 14.0), 93.0)
RECTAL_GAS = Ellipsoid((2.0, 30.0, 33.0), (9.0, 7.0, 13.0))
FEMUR_HEAD_L = Ellipsoid((92.0, -6.0, 8.0), (24.0, 24.0, 24.0))
FEMUR_HEAD_R = Ellipsoid((-92.0, -6.0, 8.0), (24.0, 24.0, 24.0))


def _anatomy(couch: bool) -> list[Tissue]:
    tissues = [
        Tissue(BODY, FAT_HU),
        Tissue(Cylinder(BODY.centre_mm, (156.0, 94.0), BODY.length_mm), MUSCLE_HU),
        Tissue(Ellipsoid((0.0, 2.0, 10.0), (66.0, 66.0, 90.0)), FAT_HU),  # the fat between the pelvic organs
    ]
    for side in (1.0, -1.0):
        tissues += [
            # acetabulum: a thick cup round the femoral head, open to the side where the neck leaves
            *bone(Ellipsoid((side * 84.0, -4.0, 18.0), (34.0, 36.0, 42.0)), 4.0),
            Tissue(Ellipsoid((side * 92.0, -6.0, 8.0), (27.0, 27.0, 27.0)), MUSCLE_HU),
            # neck and trochanter, ischium, superior ramus of the pubis
            *bone(Ellipsoid((side * 124.0, 2.0, -14.0), (24.0, 20.0, 30.0)), 4.0),
            *bone(Ellipsoid((side * 56.0, 32.0, -38.0), (17.0, 22.0, 34.0)), 4.0),
            *bone(Ellipsoid((side * 30.0, -50.0, -14.0), (28.0, 11.0, 12.0)), 3.0),
        ]
    tissues += [
        *bone(Ellipsoid((0.0, 66.0, 58.0), (34.0, 15.0, 52.0)), 4.0),  # sacrum and coccyx
        Tissue(RECTUM, 30.0),
        Tissue(RECTAL_GAS, -950.0),
        Tissue(BLADDER, 8.0),
        Tissue(PROSTATE, 40.0),
        *bone(FEMUR_HEAD_L, 3.0),
        *bone(FEMUR_HEAD_R, 3.0),
    ]
    if couch:
        table = Box((0.0, 118.0, 0.0), (400.0, 30.0, 900.0))
        foam = Box((0.0, 118.0, 0.0), (392.0, 24.0, 900.0))
        tissues += [Tissue(table, -120.0, unless=BODY), Tissue(foam, -940.0, unless=BODY)]
    return tissues


def pelvis(
    *,
    shape: tuple[int, int, int] = (48, 96, 128),
    spacing_mm: Vector3 = (3.0, 3.0, 3.0),
    shift_mm: Vector3 = (0.0, 0.0, 0.0),
    couch: bool = False,
    noise_hu: float = 10.0,
    patient_id: str = "RADIARCH-PELVIS",
    patient_name: str = "Phantom^Pelvis",
    study_description: str = "Radiarch pelvis phantom",
    series_description: str = "CT pelvis phantom",
    seed: str | None = None,
) -> PhantomStudy:
    """A pelvis with BODY, PTV, Rectum, Bladder, Femur_Head_L and Femur_Head_R.

    Parameters
    ----------
    shape : (nz, ny, nx)
    spacing_mm : (x, y, z)
    shift_mm : moves patient and image together in the frame of reference
    couch : whether the patient lies on a couch top
    noise_hu : standard deviation of the image noise, which is the same in every run
    seed : None for fresh UIDs, else UIDs derived from it
    """
    nz, ny, nx = shape
    dx, dy, dz = spacing_mm
    # The prostate's middle is the middle of a voxel's face in x and y, and a slice's plane in z.
    origin = np.array([-(nx - 1) / 2 * dx, -(ny - 1) / 2 * dy - 10.0, -(nz // 2 - 4) * dz])
    z, y, x = np.meshgrid(
        origin[2] + dz * np.arange(nz), origin[1] + dy * np.arange(ny), origin[0] + dx * np.arange(nx), indexing="ij"
    )
    volume = paint(_anatomy(couch), x, y, z, noise_hu=noise_hu)
    rois = [
        PhantomRoi("BODY", BODY, "EXTERNAL", (0, 200, 0), points=180),
        PhantomRoi("PTV", PTV, "PTV", (255, 0, 0)),
        PhantomRoi("Rectum", RECTUM, "ORGAN", (139, 69, 19)),
        PhantomRoi("Bladder", BLADDER, "ORGAN", (255, 215, 0)),
        PhantomRoi("Femur_Head_L", FEMUR_HEAD_L, "ORGAN", (0, 128, 255)),
        PhantomRoi("Femur_Head_R", FEMUR_HEAD_R, "ORGAN", (0, 255, 255)),
    ]
    return make_study(
        volume,
        [replace(r, shape=r.shape.moved(shift_mm)) for r in rois],
        origin_mm=vector(origin + np.array(shift_mm)),
        spacing_mm=spacing_mm,
        patient_id=patient_id,
        patient_name=patient_name,
        study_description=study_description,
        series_description=series_description,
        seed=seed,
    )

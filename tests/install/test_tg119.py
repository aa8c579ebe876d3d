"""Converting matRad's file of TG-119 to DICOM, on a small file of the same layout."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from scipy.io import savemat

from phantoms import PhantomStudy
from scripts._demo import tg119

SHAPE_ZYX = (5, 12, 9)
SPACING_MM = {"x": 3.0, "y": 3.0, "z": 2.5}
FIRST_MM = {"x": -20.0, "y": -30.0, "z": -40.0}


def masks() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    body = np.zeros(SHAPE_ZYX, dtype=bool)
    body[1:4, 2:10, 1:8] = True
    body[2, 0, 0] = True  # a second region in one slice
    target = np.zeros(SHAPE_ZYX, dtype=bool)
    target[2:4, 3:8, 2:6] = True
    target[2:4, 4:6, 3:6] = False  # a C
    core = np.zeros(SHAPE_ZYX, dtype=bool)
    core[2, 4:6, 4] = True
    return {"Core": core, "OuterTarget": target, "BODY": body}


def hu() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(1).integers(-1000, 1000, SHAPE_ZYX).astype(float)


@pytest.fixture
def study(tmp_path: Path) -> PhantomStudy:
    cst = np.empty((3, 4), dtype=object)
    for row, (name, mask) in enumerate(masks().items()):
        indices = np.flatnonzero(mask.transpose(1, 2, 0).ravel(order="F")) + 1.0
        cst[row] = [row, name, "OAR", indices]
    counts = dict(zip("zyx", SHAPE_ZYX, strict=True))
    axes = {a: FIRST_MM[a] + SPACING_MM[a] * np.arange(counts[a]) for a in "xyz"}
    ct = {"cubeHU": hu().transpose(1, 2, 0), "resolution": SPACING_MM, **axes}
    buffer = BytesIO()
    savemat(buffer, {"ct": ct, "cst": cst})
    wheel = tmp_path / "pyradplan-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pyRadPlan/data/phantoms/TG119.mat", buffer.getvalue())
    return tg119.study(wheel)


def test_voxels_keep_their_values_and_places(study: PhantomStudy) -> None:
    for k, image in enumerate(study.images):
        np.testing.assert_array_equal(image.pixel_array * image.RescaleSlope + image.RescaleIntercept, hu()[k])
        assert [float(v) for v in image.ImagePositionPatient] == [-20.0, -30.0, -40.0 + 2.5 * k]
        assert [float(v) for v in image.PixelSpacing] == [3.0, 3.0]


def test_contours_hold_the_masks_pixels_and_no_others(study: PhantomStudy) -> None:
    names = [str(item.ROIName) for item in study.rtstruct.StructureSetROISequence]
    assert names == list(masks())
    _, ny, nx = SHAPE_ZYX
    x, y = np.meshgrid(FIRST_MM["x"] + 3.0 * np.arange(nx), FIRST_MM["y"] + 3.0 * np.arange(ny))
    centres = np.column_stack([x.ravel(), y.ravel()])
    for item, mask in zip(study.rtstruct.ROIContourSequence, masks().values(), strict=True):
        filled = np.zeros(SHAPE_ZYX, dtype=bool)
        for contour in item.ContourSequence:
            points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
            k = round((points[0, 2] - FIRST_MM["z"]) / 2.5)
            filled[k] ^= Polygon(points[:, :2]).contains_points(centres).reshape(ny, nx)
        np.testing.assert_array_equal(filled, mask)

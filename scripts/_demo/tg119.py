"""The C-shape of AAPM TG-119 as DICOM, from the copy in the `pyradplan` package (BSD-3-Clause), fetched when asked for.

The test case is described in Ezzell et al., Med. Phys. 36, 5359 (2009), https://doi.org/10.1118/1.3238104.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from skimage.measure import find_contours

from phantoms.shapes import Box
from phantoms.study import PhantomRoi, PhantomStudy, closed_planar, make_study
from scripts._service.errors import ScriptError

# the hash is checked by pip: what is converted here is exactly the file that was looked at
_REQUIREMENT = "pyradplan==0.5.0 --hash=sha256:a3b1c03da85ccb186587f01e1108c7b6bd71e2521499b45a5a33c3e1b2a840fb\n"
_MEMBER = "pyRadPlan/data/phantoms/TG119.mat"
_ROIS = {  # name in the file: interpreted type, color
    "OuterTarget": ("PTV", (220, 50, 50)),
    "Core": ("AVOIDANCE", (240, 200, 40)),
    "BODY": ("EXTERNAL", (60, 180, 75)),
}
_NOWHERE = Box((0.0, 0.0, 1e6), (1.0, 1.0, 1.0))


def fetch(folder: Path) -> Path:
    """The package's file, downloaded by pip the first time.

    Raises
    ------
    ScriptError
        pip could not get the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob("pyradplan-*.whl"))
    if not found:
        requirement = folder / "requirement.txt"
        requirement.write_text(_REQUIREMENT, encoding="ascii")
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--no-input"]
        command = [*pip, "--require-hashes", "--only-binary=:all:", "--dest", str(folder), "-r", str(requirement)]
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
            raise ScriptError(
                "pip could not download pyradplan, which has the TG-119 case",
                remedy="Look at the lines above; without a network, scripts/demo without --case needs no download.",
            )
        found = sorted(folder.glob("pyradplan-*.whl"))
    return found[-1]


def study(wheel: Path) -> PhantomStudy:
    """CT and structures of the C-shape."""
    with zipfile.ZipFile(wheel) as archive:
        content = loadmat(BytesIO(archive.read(_MEMBER)), squeeze_me=True, struct_as_record=False)
    ct = content["ct"]
    hu = np.ascontiguousarray(ct.cubeHU.transpose(2, 0, 1), dtype=np.float32)  # MATLAB has (Y, X, Z)
    spacing_mm = (float(ct.resolution.x), float(ct.resolution.y), float(ct.resolution.z))
    origin_mm = (float(ct.x[0]), float(ct.y[0]), float(ct.z[0]))
    masks = {str(row[1]): _mask(row[3], ct.cubeHU.shape) for row in content["cst"]}
    made = make_study(
        hu,
        [PhantomRoi(name, _NOWHERE, *_ROIS[name]) for name in masks],
        origin_mm=origin_mm,
        spacing_mm=spacing_mm,
        patient_id="RADIARCH-TG119",
        patient_name="TG119^C-shape",
        study_description="AAPM TG-119 C-shape",
        series_description="CT of the C-shape",
    )
    for image in made.images:
        image.BodyPartExamined = "PHANTOM"
    for item, mask in zip(made.rtstruct.ROIContourSequence, masks.values(), strict=True):
        for image, plane in zip(made.images, mask, strict=True):
            z_mm = float(image.ImagePositionPatient[2])
            for xy_mm in _outlines(plane, origin_mm, spacing_mm):
                item.ContourSequence.append(closed_planar(xy_mm, z_mm, image))
    return made


def _mask(indices: Any, shape_yxz: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """(Z, Y, X) from MATLAB's linear indices, which count from 1 and along columns first."""
    if isinstance(indices, np.ndarray) and indices.dtype == object:
        indices = indices[0]  # one array for each scenario
    mask = np.zeros(int(np.prod(shape_yxz)), dtype=bool)
    mask[np.asarray(indices).astype(np.int64).ravel() - 1] = True
    return mask.reshape(shape_yxz, order="F").transpose(2, 0, 1)


def _outlines(
    plane: npt.NDArray[np.bool_], origin_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float]
) -> list[npt.NDArray[np.float64]]:
    """Polygons (n, 2) in xy whose inside holds the centres of the mask's pixels and no others."""
    outlines = find_contours(np.pad(plane, 1).astype(np.float64), 0.5)
    corner = np.array(origin_mm[:2]) - np.array(spacing_mm[:2])  # of the padding
    return [corner + outline[:-1, ::-1] * np.array(spacing_mm[:2]) for outline in outlines]

"""A picture of dose on CT with structures, from the stored DICOM files alone; nothing of the planner is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Polygon
from pydicom import Dataset, dcmread
from scipy import ndimage

_CT_WINDOW_HU = (-160.0, 240.0)
_LEAST_SHOWN = 0.1
"""Share of the prescription below which no dose is drawn."""
_ISODOSES_PERCENT = (50, 80, 95, 105)


@dataclass(frozen=True)
class _Volume:
    """(Z, Y, X) values at the centres ``x_mm``, ``y_mm``, ``z_mm``; patient LPS, axes along the patient's."""

    values: npt.NDArray[np.float32]
    x_mm: npt.NDArray[np.float64]
    y_mm: npt.NDArray[np.float64]
    z_mm: npt.NDArray[np.float64]

    def axial(self, z_mm: float) -> npt.NDArray[np.float32]:
        plane: npt.NDArray[np.float32] = self.values[int(np.abs(self.z_mm - z_mm).argmin())]
        return plane

    def coronal(self, y_mm: float) -> npt.NDArray[np.float32]:
        plane: npt.NDArray[np.float32] = self.values[:, int(np.abs(self.y_mm - y_mm).argmin())]
        return plane


def draw(
    ct_files: Sequence[Path],
    rtstruct: Dataset,
    rtdose: Dataset,
    *,
    prescription_gy: float,
    centre_mm: tuple[float, float, float],
    title: str,
    path: Path,
) -> None:
    """Write a PNG: an axial and a coronal plane through ``centre_mm``, dose in Gy as a wash with isodose lines."""
    ct, dose = _ct(ct_files, rtstruct), _dose(rtdose)
    structures = _structures(rtstruct)
    with mpl.rc_context({"text.parse_math": False}):  # '$' in a name is no mathematics
        figure = Figure(figsize=(13, 5), dpi=120, layout="constrained", facecolor="black")
        FigureCanvasAgg(figure)
        axial, coronal = figure.subplots(1, 2)
        norm = Normalize(_LEAST_SHOWN * prescription_gy, 1.1 * prescription_gy)
        _, y, z = centre_mm
        _plane(axial, ct.x_mm, ct.y_mm, ct.axial(z), dose.x_mm, dose.y_mm, dose.axial(z), norm, prescription_gy)
        _plane(coronal, ct.x_mm, ct.z_mm, ct.coronal(y), dose.x_mm, dose.z_mm, dose.coronal(y), norm, prescription_gy)
        names: dict[str, Line2D] = {}
        slice_z_mm = float(ct.z_mm[int(np.abs(ct.z_mm - z).argmin())])
        for name, (color, contours) in structures.items():
            for polygon in contours:
                if abs(polygon[0, 2] - slice_z_mm) < 0.1:
                    closed = np.vstack([polygon, polygon[:1]])
                    axial.plot(closed[:, 0], closed[:, 1], color=color, lw=1.1)
                    names[name] = Line2D([], [], color=color, lw=1.5)
            cut = _cut(contours, ct.x_mm, ct.z_mm, y)
            if cut.any():
                names[name] = Line2D([], [], color=color, lw=1.5)
                coronal.contour(ct.x_mm, ct.z_mm, cut, levels=[0.5], colors=[color], linewidths=1.1)
        axial.invert_yaxis()  # posterior is down
        _crop(axial, structures, ct, 1)
        _crop(coronal, structures, ct, 2)
        axial.set_title(f"axial, z = {round(slice_z_mm) or 0} mm", color="white", fontsize=9)
        coronal.set_title(f"coronal, y = {round(y) or 0} mm", color="white", fontsize=9)
        figure.legend(
            names.values(),
            names.keys(),
            loc="outside lower center",
            ncols=8,
            fontsize=8,
            frameon=False,
            labelcolor="white",
        )
        bar = figure.colorbar(ScalarMappable(norm, "turbo"), ax=[axial, coronal], shrink=0.8, pad=0.01)
        bar.set_label("dose in Gy (RBE)", color="white")
        bar.ax.tick_params(colors="white")
        figure.suptitle(f"{title}. Research use only, unapproved", color="white", fontsize=10)
        figure.savefig(path, format="png")


def _plane(
    axes: Axes,
    ct_across: npt.NDArray[np.float64],
    ct_up: npt.NDArray[np.float64],
    hu: npt.NDArray[np.float32],
    across: npt.NDArray[np.float64],
    up: npt.NDArray[np.float64],
    dose_gy: npt.NDArray[np.float32],
    norm: Normalize,
    prescription_gy: float,
) -> None:
    low, high = _CT_WINDOW_HU
    axes.pcolormesh(ct_across, ct_up, hu, cmap="gray", vmin=low, vmax=high, shading="nearest", rasterized=True)
    across, up, dose_gy = _finer(across, up, dose_gy)
    shown = np.where(dose_gy < _LEAST_SHOWN * prescription_gy, np.nan, dose_gy)
    axes.pcolormesh(across, up, shown, cmap="turbo", norm=norm, shading="nearest", alpha=0.45, rasterized=True)
    if dose_gy.max() > 0:
        levels = [p / 100 * prescription_gy for p in _ISODOSES_PERCENT]
        axes.contour(across, up, dose_gy, levels=levels, cmap="turbo", norm=norm, linewidths=0.7)
    axes.set_aspect("equal")
    axes.set_facecolor("black")
    axes.tick_params(colors="white", labelsize=7)


def _finer(
    across: npt.NDArray[np.float64], up: npt.NDArray[np.float64], dose_gy: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """A plane between its voxels' centres, linear, about 1 mm apart: as every viewer shows dose."""
    finer = [np.linspace(axis[0], axis[-1], round(abs(axis[-1] - axis[0])) + 1) for axis in (up, across)]
    where = np.meshgrid(*(np.interp(f, a, np.arange(len(a))) for f, a in zip(finer, (up, across), strict=True)))
    values = ndimage.map_coordinates(dose_gy, [w.T for w in where], order=1)
    return finer[1], finer[0], values.astype(np.float32)


def _crop(axes: Axes, structures: dict[str, tuple[str, list[npt.NDArray[np.float64]]]], ct: _Volume, up: int) -> None:
    """Leave the air around the patient out."""
    points = np.vstack([p for _, contours in structures.values() for p in contours])
    margin_mm = 15.0
    for dimension, limits, values in (
        (0, axes.set_xlim, ct.x_mm),
        (up, axes.set_ylim, (ct.x_mm, ct.y_mm, ct.z_mm)[up]),
    ):
        low = max(points[:, dimension].min() - margin_mm, values[0])
        high = min(points[:, dimension].max() + margin_mm, values[-1])
        limits((high, low) if dimension == 1 else (low, high))


def _ct(files: Sequence[Path], rtstruct: Dataset) -> _Volume:
    """The slices that the structure set references; HU."""
    wanted = {
        str(image.ReferencedSOPInstanceUID)
        for frame in rtstruct.ReferencedFrameOfReferenceSequence
        for study in frame.RTReferencedStudySequence
        for series in study.RTReferencedSeriesSequence
        for image in series.ContourImageSequence
    }
    slices = []
    for file in files:
        head = dcmread(file, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        if str(head.SOPInstanceUID) in wanted:
            slices.append(dcmread(file))
    slices.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    first = slices[0]
    x0, y0 = map(float, first.ImagePositionPatient[:2])
    dy, dx = map(float, first.PixelSpacing)
    hu = [d.pixel_array * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept) for d in slices]
    return _Volume(
        np.stack(hu).astype(np.float32),
        x0 + dx * np.arange(first.Columns),
        y0 + dy * np.arange(first.Rows),
        np.array([float(d.ImagePositionPatient[2]) for d in slices]),
    )


def _dose(rtdose: Dataset) -> _Volume:
    """The dose grid; Gy, total over all fractions."""
    x0, y0, z0 = map(float, rtdose.ImagePositionPatient)
    dy, dx = map(float, rtdose.PixelSpacing)
    values = rtdose.pixel_array.astype(np.float64) * float(rtdose.DoseGridScaling)
    offsets = np.array([float(o) for o in rtdose.GridFrameOffsetVector])
    return _Volume(
        values.astype(np.float32),
        x0 + dx * np.arange(rtdose.Columns),
        y0 + dy * np.arange(rtdose.Rows),
        z0 + offsets,
    )


def _structures(rtstruct: Dataset) -> dict[str, tuple[str, list[npt.NDArray[np.float64]]]]:
    """Color and polygons (n, 3) in mm of each structure, by name."""
    names = {int(item.ROINumber): str(item.ROIName) for item in rtstruct.StructureSetROISequence}
    found: dict[str, tuple[str, list[npt.NDArray[np.float64]]]] = {}
    for item in rtstruct.get("ROIContourSequence", []):
        polygons = [
            np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
            for contour in item.get("ContourSequence", [])
            if contour.ContourGeometricType == "CLOSED_PLANAR"
        ]
        if polygons:
            color = "#" + "".join(f"{int(c):02x}" for c in item.get("ROIDisplayColor") or (255, 255, 255))
            found[names[int(item.ReferencedROINumber)]] = (color, polygons)
    return found


def _cut(
    polygons: Sequence[npt.NDArray[np.float64]],
    x_mm: npt.NDArray[np.float64],
    z_mm: npt.NDArray[np.float64],
    y_mm: float,
) -> npt.NDArray[np.float64]:
    """(Z, X): 1 where the structure is in the coronal plane; a contour within another cuts a hole."""
    inside = np.zeros((len(z_mm), len(x_mm)), dtype=bool)
    points = np.column_stack([x_mm, np.full_like(x_mm, y_mm)])
    for polygon in polygons:
        k = int(np.abs(z_mm - polygon[0, 2]).argmin())
        inside[k] ^= Polygon(polygon[:, :2]).contains_points(points)
    return inside.astype(np.float64)

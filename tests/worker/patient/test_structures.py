"""Masks of structures: volumes, holes, contours between slices, contours off the image."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode
from radiarch_worker.patient import limits

from phantoms import Cylinder, Ellipsoid, PhantomRoi, PhantomStudy, Shape, box, faults
from phantoms.study import closed_planar, make_study

from .support import load, refusal, volumes_cc

SHAPES: list[Shape] = [
    Ellipsoid((0.0, 0.0, 0.0), (30.0, 30.0, 30.0)),
    Ellipsoid((3.3, -7.7, 1.1), (24.0, 35.0, 28.0)),
    Cylinder((1.3, 2.2, 0.0), (25.0, 17.0), 63.0),
]


def study_of(shape: Shape, *, spacing_mm: tuple[float, float, float] = (2.0, 2.0, 3.0)) -> PhantomStudy:
    """A target in a block of water."""
    nz, ny, nx = 35, 60, 60
    hu = np.full((nz, ny, nx), -1000, dtype=np.float32)
    hu[:, 5:-5, 5:-5] = 0
    dx, dy, dz = spacing_mm
    origin = (-(nx - 1) / 2 * dx, -(ny - 1) / 2 * dy, -(nz - 1) / 2 * dz)
    body = Cylinder((0.0, 0.0, 0.0), (45.0, 45.0), 1000.0)
    return make_study(
        hu,
        [PhantomRoi("BODY", body, "EXTERNAL", (0, 255, 0)), PhantomRoi("PTV", shape, "PTV", (255, 0, 0))],
        origin_mm=origin,
        spacing_mm=spacing_mm,
        patient_id="SHAPE",
        patient_name="Shape^A",
        study_description="",
        series_description="",
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_volumes_are_the_shapes(shape: Shape) -> None:
    assert volumes_cc(load(study_of(shape)))["PTV"] == pytest.approx(shape.volume_cc, rel=0.01)


def test_centers_are_the_shapes() -> None:
    patient = load(study_of(SHAPES[1]))
    grid, mask = patient.ct.grid, patient.structures[2].mask
    center = [float(grid.axis_mm(a)[np.nonzero(mask)[2 - a]].mean()) for a in range(3)]
    assert center == pytest.approx([3.3, -7.7, 1.1], abs=0.1)


def test_the_box_has_its_volumes_exactly(water: PhantomStudy) -> None:
    measured = volumes_cc(load(water))
    for name, shape in water.shapes.items():
        assert measured[name] == pytest.approx(shape.volume_cc, rel=1e-9)


def test_the_pelvis_has_its_volumes(man: PhantomStudy) -> None:
    patient = load(man, needed=range(1, 7))
    measured = volumes_cc(patient)
    body = man.shapes["BODY"]
    assert isinstance(body, Cylinder)
    a, b = body.semi_axes_mm
    assert measured.pop("BODY") == pytest.approx(math.pi * a * b * 3 * len(man.images) / 1000, rel=0.002)
    assert measured == {n: pytest.approx(man.shapes[n].volume_cc, rel=0.03) for n in measured}
    assert patient.notes == ()
    by_name = {s.name: s for s in patient.structures.values()}
    left, right = (np.nonzero(by_name[f"Femur_Head_{s}"].mask)[2].mean() for s in "LR")
    assert left > right  # +x is the patient's left


def test_a_shift_of_everything_changes_no_mask() -> None:
    here, there = load(box(origin_mm=(0, 0, 0))), load(box(origin_mm=(-533.2, 77.7, 1200.4)))
    assert np.array_equal(here.structures[2].mask, there.structures[2].mask)
    assert np.array_equal(here.ct.hu, there.ct.hu)
    assert np.subtract(there.ct.grid.origin_mm, here.ct.grid.origin_mm) == pytest.approx([-533.2, 77.7, 1200.4])


def test_contours_are_kept_as_drawn(water: PhantomStudy) -> None:
    target = load(water).structures[2]
    drawn = faults.contours_of(water, "PTV").ContourSequence
    assert len(target.contours) == len(drawn)
    for (z, xy), contour in zip(target.contours, drawn, strict=True):
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        assert z == pytest.approx(points[0, 2])
        assert np.array_equal(xy, points[:, :2])


def test_an_inner_contour_is_a_hole() -> None:
    study = study_of(Cylinder((0.0, 0.0, 0.0), (30.0, 30.0), 63.0))
    hole = Cylinder((5.0, 0.0, 0.0), (12.0, 12.0), 63.0)
    _add(study, "PTV", hole)
    patient = load(study)
    assert volumes_cc(patient)["PTV"] == pytest.approx(math.pi * (30**2 - 12**2) * 63 / 1000, rel=0.03)
    assert patient.notes == ()


def test_two_parts_on_a_slice_are_both_inside() -> None:
    study = study_of(Cylinder((-20.0, 0.0, 0.0), (15.0, 15.0), 63.0))
    _add(study, "PTV", Cylinder((20.0, 0.0, 0.0), (10.0, 10.0), 63.0))
    patient = load(study)
    assert volumes_cc(patient)["PTV"] == pytest.approx(math.pi * (15**2 + 10**2) * 63 / 1000, rel=0.03)
    assert patient.notes == ()


def test_contours_that_cross_are_refused_when_needed() -> None:
    study = study_of(Cylinder((-8.0, 0.0, 0.0), (15.0, 15.0), 63.0))
    _add(study, "PTV", Cylinder((8.0, 0.0, 0.0), (15.0, 15.0), 63.0))
    assert refusal(study, needed=[2]).code == ErrorCode.AMBIGUOUS_STRUCTURE
    patient = load(study)
    assert 2 not in patient.structures
    assert any("cross each other" in n for n in patient.notes)


def test_islands_on_one_slice_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(Cylinder((-20.0, 0.0, 0.0), (15.0, 15.0), 63.0))
    _add(study, "PTV", Cylinder((20.0, 0.0, 0.0), (10.0, 10.0), 63.0))
    monkeypatch.setattr(limits, "MAX_CONTOURS_ON_PLANE", 1)
    assert refusal(study, needed=[2]).code == ErrorCode.TOO_LARGE


def _add(study: PhantomStudy, name: str, shape: Shape) -> None:
    sequence = faults.contours_of(study, name).ContourSequence
    for image in study.images:
        z = float(image.ImagePositionPatient[2])
        if (xy := shape.contour(z, 72)) is not None:
            sequence.append(closed_planar(xy, z, image))


# --- between slices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_mm", [2.0, 2.5, 4.5, 5.0])
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_contours_between_slices_are_interpolated(shape: Shape, step_mm: float) -> None:
    """Drawn on another spacing than the CT's 3 mm, from a plane that is no slice's."""
    study = study_of(shape)
    _redraw(study, "PTV", shape, np.arange(-60.7, 60, step_mm))
    patient = load(study, needed=[2])
    assert volumes_cc(patient)["PTV"] == pytest.approx(shape.volume_cc, rel=0.03)
    assert any("interpolated" in n for n in patient.notes)


def test_contours_on_every_other_slice_are_interpolated() -> None:
    shape = SHAPES[0]
    study = study_of(shape)
    whole = load(study).structures[2].mask
    item = faults.contours_of(study, "PTV")
    item.ContourSequence = item.ContourSequence[::2]
    patient = load(study, needed=[2])
    mask = patient.structures[2].mask
    assert any("interpolated" in n for n in patient.notes)
    assert 2 * (mask & whole).sum() / (mask.sum() + whole.sum()) > 0.98
    drawn = [round(float(c.ContourData[2]), 3) for c in item.ContourSequence]
    k = [int(np.rint((z - patient.ct.grid.origin_mm[2]) / 3)) for z in drawn]
    assert np.array_equal(mask[k], whole[k])  # where it was drawn it is as drawn


def test_parts_far_apart_are_not_joined() -> None:
    study = study_of(Cylinder((0.0, 0.0, -30.0), (15.0, 15.0), 33.0))
    _add(study, "PTV", Cylinder((0.0, 0.0, 30.0), (15.0, 15.0), 33.0))
    patient = load(study)
    assert volumes_cc(patient)["PTV"] == pytest.approx(math.pi * 15**2 * 66 / 1000, rel=0.03)
    assert any("it counts as parts with nothing between" in n for n in patient.notes)


def test_contours_too_far_apart_are_refused_when_needed() -> None:
    study = study_of(SHAPES[0])
    item = faults.contours_of(study, "PTV")
    item.ContourSequence = item.ContourSequence[::5]
    assert refusal(study, needed=[2]).code == ErrorCode.INCOMPLETE_STRUCTURE


def _redraw(
    study: PhantomStudy, name: str, shape: Shape, heights: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    contours = [closed_planar(xy, float(z)) for z in heights if (xy := shape.contour(float(z), 72)) is not None]
    faults.contours_of(study, name).ContourSequence = contours


def test_contours_that_are_not_axial_are_refused_when_needed(water: PhantomStudy) -> None:
    bad = water.copy()
    for contour in faults.contours_of(bad, "PTV").ContourSequence:
        contour.ContourData[2] += 3.0
    assert refusal(bad, needed=[2]).code == ErrorCode.UNSUPPORTED_GEOMETRY


def test_contours_that_contradict_their_image_are_refused_when_needed(water: PhantomStudy) -> None:
    bad = water.copy()
    for contour in faults.contours_of(bad, "PTV").ContourSequence:
        contour.ContourData[2::3] = [z + 20.0 for z in contour.ContourData[2::3]]
    error = refusal(bad, needed=[2])
    assert error.code == ErrorCode.UNSUPPORTED_GEOMETRY
    assert "references the image at" in error.info.message


# --- off the image, empty, strange ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [{"x_mm": 500.0}, {"y_mm": -500.0}, {"z_mm": 400.0}, {"x_mm": 75.0}, {"z_mm": 52.0}])
def test_contours_off_the_image_are_refused_when_needed(water: PhantomStudy, shift: dict[str, float]) -> None:
    bad = faults.moved_roi(water, "PTV", **shift)
    error = refusal(bad, needed=[2])
    assert error.code == ErrorCode.STRUCTURE_OUTSIDE_IMAGE
    assert "'PTV'" in error.info.message
    patient = load(bad)
    assert 2 not in patient.structures
    assert any("outside of the CT" in n for n in patient.notes)


def test_a_hair_over_the_edge_is_cut_and_told() -> None:
    """A structure drawn along the image's edge."""
    study = box(margin_mm=0.0)
    for contour in faults.contours_of(study, "BODY").ContourSequence:
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        points[points[:, 0] > 0, 0] += 1.0
        points[(points[:, 0] > 0) & (points[:, 1] > 0), 0] += 1.5
        contour.ContourData = [round(v, 3) for v in points.ravel().tolist()]
    patient = load(study, needed=[1])
    assert any("% of its volume lies outside of the CT" in n for n in patient.notes)
    assert patient.structures[1].mask.all()


def test_an_empty_roi_is_left_out_or_refused_when_needed(water: PhantomStudy) -> None:
    bad = faults.empty_roi(water, "OAR")
    patient = load(bad)
    assert sorted(patient.structures) == [1, 2]
    assert any("'OAR'" in n for n in patient.notes)
    error = refusal(bad, needed=[2, 3])
    assert error.code == ErrorCode.EMPTY_STRUCTURE
    assert error.info.details["roi_number"] == 3


def test_a_roi_that_is_not_there_is_refused(water: PhantomStudy) -> None:
    assert refusal(water, needed=[77]).code == ErrorCode.UNKNOWN_STRUCTURE


def test_a_roi_smaller_than_a_voxel_is_empty(water: PhantomStudy) -> None:
    bad = water.copy()
    contour = faults.contours_of(bad, "PTV").ContourSequence[0]
    _, _, z = contour.ContourData[:3]
    xy = np.array([(0.1, 0.1), (0.5, 0.1), (0.5, 0.5)])
    faults.contours_of(bad, "PTV").ContourSequence = [closed_planar(xy, float(z))]
    assert refusal(bad, needed=[2]).code == ErrorCode.EMPTY_STRUCTURE


KINDS: dict[str, Callable[[Dataset], object]] = {
    "POINT": lambda c: setattr(c, "ContourGeometricType", "POINT"),
    "OPEN_PLANAR": lambda c: setattr(c, "ContourGeometricType", "OPEN_PLANAR"),
    "no type": lambda c: delattr(c, "ContourGeometricType"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_contours_that_are_not_closed_are_ignored_and_told(water: PhantomStudy, kind: str) -> None:
    some = water.copy()
    KINDS[kind](faults.contours_of(some, "OAR").ContourSequence[0])
    patient = load(some)
    assert any(kind in n for n in patient.notes)
    assert patient.structures[3].mask.sum() < load(water).structures[3].mask.sum()
    every = water.copy()
    for contour in faults.contours_of(every, "OAR").ContourSequence:
        KINDS[kind](contour)
    assert kind in refusal(every, needed=[3]).info.message


def test_closed_planar_xor_is_closed(water: PhantomStudy) -> None:
    other = water.copy()
    for contour in faults.contours_of(other, "PTV").ContourSequence:
        contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
    assert np.array_equal(load(other).structures[2].mask, load(water).structures[2].mask)


def test_the_same_name_twice_is_told(water: PhantomStudy) -> None:
    patient = load(faults.renamed(water, {"OAR": "PTV"}))
    assert sorted(patient.structures) == [1, 2, 3]
    assert any("'PTV' is used by 2 ROIs" in n for n in patient.notes)


def test_roi_number_zero_is_a_number(water: PhantomStudy) -> None:
    other = water.copy()
    other.rtstruct.StructureSetROISequence[1].ROINumber = 0
    other.rtstruct.ROIContourSequence[1].ReferencedROINumber = 0
    other.rtstruct.RTROIObservationsSequence[1].ReferencedROINumber = 0
    target = load(other, needed=[0]).structures[0]
    assert (target.name, target.interpreted_type) == ("PTV", "PTV")


def test_contours_without_a_name_are_told(water: PhantomStudy) -> None:
    bad = water.copy()
    del bad.rtstruct.StructureSetROISequence[2]
    patient = load(bad)
    assert sorted(patient.structures) == [1, 2]
    assert any("[3]" in n for n in patient.notes)


CHARSETS = [
    ("ISO_IR 100", "Müller^Jörg", "Zielvolumen größer"),
    ("ISO_IR 101", "Dvořák^Jiří", "Žluč"),
    ("ISO_IR 144", "Люкceмбypг", "Мишень"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东", "靶区"),
    ("GB18030", "Wang^XiaoDong=王^小东", "靶区"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "標的"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞", "표적"),
]


@pytest.mark.parametrize(("charset", "patient_name", "roi_name"), CHARSETS, ids=[str(c[0]) for c in CHARSETS])
def test_names_in_any_character_set(
    water: PhantomStudy, charset: str | list[str], patient_name: str, roi_name: str
) -> None:
    patient = load(faults.in_charset(water, charset, patient_name, roi_name))
    assert patient.structures[2].name == roi_name
    assert patient.ct.study.patient_name == patient_name


def _in_no_charset(file: bytes) -> bytes:
    return file.replace(b"ISO_IR 192", b"ISO_IR 999")


@pytest.mark.filterwarnings("ignore:Unknown encoding")  # pydicom warns while it reads the file
def test_a_false_character_set_is_no_reason_to_refuse(water: PhantomStudy) -> None:
    other = water.copy()
    other.images = [faults.reread(i, _in_no_charset) for i in other.images]
    other.rtstruct = faults.reread(other.rtstruct, _in_no_charset)
    assert load(other).structures[2].name == "PTV"

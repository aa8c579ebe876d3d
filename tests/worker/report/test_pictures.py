"""A hot spot at a known place of the patient is at the right pixel, on the right side, of each picture."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from radiarch_contract.pictures import Plane
from radiarch_worker.model import Dose, Grid, Patient, PlanResult, Vector3
from radiarch_worker.report import Report, draw
from radiarch_worker.report.palette import drawn_structures
from radiarch_worker.report.planes import LETTERS, Cut, cut, viewpoint
from radiarch_worker.report.png import FIELD_PX
from radiarch_worker.report.raster import rgb

from tests.worker.dicom import waterbox
from tests.worker.dicom.test_rtdose import evaluation_of

pytestmark = pytest.mark.slow

HOT = (32.0, -135.0, 18.0)
"""Patient left, anterior, towards the head, mm from the body's middle at about (1, -111, -1)."""
FINE = Grid((-57.7, -168.45, -38.0), (1.8, 1.8, 2.0), (38, 64, 66))


def hot_plan(at: Vector3 = HOT) -> PlanResult:
    """A narrow dose at a point, whose isocenter is there too."""
    plan = waterbox.plan()
    x, y, z = (FINE.axis_mm(a) for a in range(3))
    squares = [(axis - c) ** 2 for axis, c in zip((x, y, z), at, strict=True)]
    distance = squares[2][:, None, None] + squares[1][None, :, None] + squares[0][None, None, :]
    dose = Dose((62 * np.exp(-distance / (2 * 5.0**2))).astype(np.float32), FINE, 1.1)
    beams = tuple(dataclasses.replace(b, isocenter_mm=at) for b in plan.beams)
    return dataclasses.replace(plan, beams=beams, dose=dose)


def report_of(plan: PlanResult, patient: Patient | None = None) -> Report:
    case = dataclasses.replace(waterbox.case(), plan=plan)
    if patient is not None:
        case = dataclasses.replace(case, patient=patient)
    return draw(case.spec, case.patient, case.plan, evaluation_of(case))


def cuts_of(plan: PlanResult, patient: Patient) -> dict[Plane, Cut]:
    drawn = drawn_structures(waterbox.spec(), patient)
    point = viewpoint(patient, plan)
    return {p: cut(patient, plan.dose, 60.0, drawn, p, point) for p in Plane}


def pixels(data: bytes) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
    image = Image.open(io.BytesIO(data))
    told = dict(pair.split("=") for pair in image.text["Radiarch"].split())
    return np.asarray(image.convert("RGB"), float), {k: float(v) for k, v in told.items() if k != "plane"}


def hottest(image: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Column and row of the middle of what is washed yellow to red: more red than blue, which grey never is."""
    field = image[30 : FIELD_PX[1] - 30, 30 : FIELD_PX[0] - 30]
    rows, columns = np.nonzero(field[..., 0] - field[..., 2] > 60)
    assert len(rows) > 50
    return float(np.median(columns)) + 30.5, float(np.median(rows)) + 30.5


@pytest.fixture(scope="module")
def bare() -> Patient:
    """Nothing but the body, so that no contour has the wash's colours."""
    patient = waterbox.patient()
    keep = {n: s for n, s in patient.structures.items() if n in (waterbox.BODY, waterbox.PTV)}
    hidden = dataclasses.replace(keep[waterbox.PTV], mask=np.zeros_like(patient.body.mask), contours=())
    return dataclasses.replace(patient, structures={**keep, waterbox.PTV: hidden})


@pytest.fixture(scope="module")
def pictures(bare: Patient) -> dict[Plane, bytes]:
    return dict(report_of(hot_plan(), bare).pictures)


@pytest.mark.parametrize(
    ("plane", "right", "down"),
    [(Plane.AXIAL, HOT[0], HOT[1]), (Plane.CORONAL, HOT[0], -HOT[2]), (Plane.SAGITTAL, HOT[1], -HOT[2])],
)
def test_a_hot_spot_is_at_its_place(pictures: dict[Plane, bytes], plane: Plane, right: float, down: float) -> None:
    image, told = pixels(pictures[plane])
    column, row = hottest(image)
    assert column == pytest.approx(told["left_px"] + (right - told["u_min_mm"]) / told["mm_per_px"], abs=4)
    assert row == pytest.approx(told["top_px"] + (down - told["v_min_mm"]) / told["mm_per_px"], abs=4)
    # and on its side, without what the picture says of itself: left, front and head of the patient
    middle_column, middle_row = FIELD_PX[0] / 2, FIELD_PX[1] / 2
    assert (column > middle_column) == (plane is not Plane.SAGITTAL)
    assert row < middle_row


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_other_side_is_the_other_side(bare: Patient, axis: int) -> None:
    """Mirroring the hot spot along one patient axis moves it in the two pictures that show this axis."""
    middle = [1.0, -111.0, -1.0]
    mirrored = list(HOT)
    mirrored[axis] = 2 * middle[axis] - HOT[axis]
    found = {}
    for at in (HOT, (mirrored[0], mirrored[1], mirrored[2])):
        images = report_of(hot_plan(at), bare).pictures
        found[at] = {p: hottest(pixels(images[p])[0]) for p in Plane}
    before, after = found.values()
    moved = {p: (after[p][0] - before[p][0], after[p][1] - before[p][1]) for p in Plane}
    # +x (left) is to the right, +y (back) is down or to the right, +z (head) is up
    expected = {
        0: {Plane.AXIAL: (-1, 0), Plane.CORONAL: (-1, 0), Plane.SAGITTAL: (0, 0)},
        1: {Plane.AXIAL: (0, 1), Plane.CORONAL: (0, 0), Plane.SAGITTAL: (1, 0)},
        2: {Plane.AXIAL: (0, 0), Plane.CORONAL: (0, 1), Plane.SAGITTAL: (0, 1)},
    }[axis]
    for plane, signs in expected.items():
        for distance, sign in zip(moved[plane], signs, strict=True):
            assert (abs(distance) < 8) if sign == 0 else (sign * distance > 50), (plane, moved[plane])


def test_letters_say_the_sides() -> None:
    assert LETTERS[Plane.AXIAL] == ("R", "L", "A", "P")
    assert LETTERS[Plane.CORONAL] == ("R", "L", "H", "F")
    assert LETTERS[Plane.SAGITTAL] == ("A", "P", "H", "F")


def test_nothing_is_stretched(pictures: dict[Plane, bytes]) -> None:
    """Voxels are 1.8 x 1.8 x 2 mm: a millimetre has as many pixels down as across."""
    for plane, seen in cuts_of(hot_plan(), waterbox.patient()).items():
        _, told = pixels(pictures[plane])
        rows = FIELD_PX[1] - 2 * told["top_px"]
        assert rows * told["mm_per_px"] == pytest.approx(seen.window.height_mm, rel=0.01)


@pytest.mark.parametrize("plane", list(Plane))
def test_contours_and_isodoses_are_in_the_patients_millimetres(plane: Plane) -> None:
    patient = waterbox.patient()
    plan = dataclasses.replace(
        hot_plan((0.0, -110.0, 0.0)),
        beams=tuple(dataclasses.replace(b, isocenter_mm=(0, -110, 0)) for b in waterbox.beams()),
    )
    seen = cuts_of(plan, patient)[plane]
    ptv = next(o for o in seen.outlines if o.name == "PTV")
    points = np.vstack(ptv.lines)
    box = {"x": (-20, 20), "y": (-130, -90), "-z": (-20, 20)}
    axes = {Plane.AXIAL: ("x", "y"), Plane.CORONAL: ("x", "-z"), Plane.SAGITTAL: ("y", "-z")}[plane]
    for values, axis in zip(points.T, axes, strict=True):
        assert (values.min(), values.max()) == pytest.approx(box[axis], abs=2.0)  # whole voxels where not drawn
    for isodose in seen.isodoses:
        line = np.vstack(isodose.lines)
        radius = np.hypot(line[:, 0] - seen.center[0], line[:, 1] - seen.center[1])
        expected = 5.0 * np.sqrt(2 * np.log(62 / isodose.dose_gy)) if isodose.dose_gy < 62 else 0
        assert radius.mean() == pytest.approx(expected, abs=0.9), isodose.percent
    assert {i.percent for i in seen.isodoses} >= {50.0, 90.0}


def test_where_no_dose_is_known_there_is_no_wash() -> None:
    patient = waterbox.patient()
    plan = waterbox.plan()  # its grid is smaller than the body
    seen = cuts_of(dataclasses.replace(plan, beams=()), patient)[Plane.AXIAL]
    image = rgb(seen, 200, 200).astype(int)
    assert (np.ptp(image[0], axis=-1) == 0).all()  # grey
    assert np.ptp(image, axis=-1).max() > 60


def test_a_plan_without_beams_is_shown_where_its_dose_is_highest() -> None:
    plan = dataclasses.replace(hot_plan(), beams=())
    assert viewpoint(waterbox.patient(), plan) == pytest.approx(HOT, abs=1.01)


def test_a_plane_beyond_the_dose_has_no_isodoses() -> None:
    patient, plan = waterbox.patient(), waterbox.plan()
    below = cut(patient, plan.dose, 60.0, drawn_structures(waterbox.spec(), patient), Plane.AXIAL, (0, -110, -500.0))
    assert below.position_mm == patient.ct.grid.origin_mm[2]
    assert below.percent is None
    assert not below.isodoses

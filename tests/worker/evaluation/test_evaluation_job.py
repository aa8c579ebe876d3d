"""Laws of judging a stored dose, and of comparing it with another one."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode
from radiarch_contract.states import OutputKind
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription
from radiarch_worker.dicom import encode

from phantoms import PhantomStudy, box
from phantoms.rtdose import rtdose
from tests.worker.dicom.dciodvfy import findings
from tests.worker.recalculation.checks import Ran, run_check

pytestmark = pytest.mark.slow

STUDY = box(shape=(10, 18, 18), target_mm=24.0, margin_mm=8.0)
REFS = tuple(StructureRef(name=n, roi_number=i, roi_name=n) for i, n in ((1, "BODY"), (2, "PTV"), (3, "OAR")))
# three millimetres, off the CT's four
ORIGIN, SPACING, SHAPE = (-31.0, -32.5, -17.0), (3.0, 3.0, 3.0), (12, 22, 21)
GOALS = ("PTV: Dmean >= 30 Gy", "OAR: Dmax <= 70 Gy")


def hump(origin: tuple[float, float, float], spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> Any:
    """60 Gy in the middle, falling to 20 at 25 mm: (Z, Y, X)."""
    x, y, z = (o + s * np.arange(n) for o, s, n in zip(origin, spacing, shape[::-1], strict=True))
    r2 = x[None, None, :] ** 2 + y[None, :, None] ** 2 + z[:, None, None] ** 2
    return (60 * np.exp(-r2 / 569)).astype(np.float32)


def dose(scale: float = 1.0, add: npt.NDArray[np.float32] | None = None, **changes: Any) -> Dataset:
    values = hump(ORIGIN, SPACING, SHAPE) * np.float32(scale)
    values = values if add is None else values + add
    given = {"origin_mm": ORIGIN, "spacing_mm": SPACING, "DoseType": "EFFECTIVE", **changes}
    return reread(rtdose(STUDY, values, **given))


def reread(ds: Dataset) -> Dataset:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream)


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    def run_with(
        rtdose: Dataset,
        reference: Dataset | None = None,
        study: PhantomStudy = STUDY,
        *,
        plus: Dataset | None = None,
        **kw: Any,
    ) -> Ran:
        inputs = {"rtdose": rtdose} | ({} if reference is None else {"reference_rtdose": reference})
        inputs |= {} if plus is None else {"added_rtdose": plus}
        values = {"goals": GOALS, "structures": REFS, **kw}
        return run_check(monkeypatch, tmp_path, study, "evaluation", inputs, **values)

    return run_with


def test_a_dose_alone_is_judged_and_only_its_report_is_stored(run: Run) -> None:
    ran = run(dose())
    assert ran.result.error is None
    assert (list(ran.stored), ran.result.comparison) == ([OutputKind.REPORT], None)
    assert [o.kind for o in ran.result.outputs] == [OutputKind.REPORT]
    assert ran.result.dose is not None
    assert (ran.result.dose.dose_type, ran.result.dose_quantity) == ("EFFECTIVE", "RBE_WEIGHTED")
    verdict = ran.result.verdict
    assert verdict is not None
    assert (verdict.result, [c.id for c in verdict.criteria]) == ("look", ["reference"])
    assert "2 met" in verdict.reasons[0]
    assert [g.status for g in ran.result.goals] == ["met", "met"]
    target = next(m for m in ran.result.metrics if m.structure == "PTV")
    assert target.d_max_gy <= 60.0
    assert {c.structure for c in ran.result.dvh} >= {"PTV", "OAR"}


def test_a_goal_in_percent_needs_a_prescription(run: Run) -> None:
    goals = ("PTV: D50% >= 50%",)
    (unjudged,) = run(dose(), goals=goals).result.goals
    assert (unjudged.value, unjudged.status) == (None, None)
    assert unjudged.note is not None
    assert "prescribed" in unjudged.note
    (judged,) = run(dose(), goals=goals, prescription=Prescription(target="PTV", dose_gy=60, fractions=30)).result.goals
    assert judged.value is not None


def test_identical_doses_do_not_differ(run: Run, tmp_path: Path) -> None:
    ran = run(dose(), dose())
    assert ran.result.error is None, ran.result.error
    found = ran.result.comparison
    assert found is not None
    assert found.gamma is not None
    assert (found.gamma.passed_percent, found.gamma.max) == (100.0, 0.0)
    assert found.gamma.points > 500
    assert found.mean_difference_gy == pytest.approx(0, abs=1e-6)
    assert found.metrics == ran.result.metrics
    assert found.goals == ran.result.goals
    written = pydicom.dcmread(BytesIO(encode(ran.stored[OutputKind.DOSE_DIFFERENCE])))
    assert not written.pixel_array.any()
    assert (written.DoseType, written.DoseUnits, written.PixelRepresentation) == ("ERROR", "GY", 1)
    # Debian's dciodvfy knows unsigned doses only; PS3.3 C.8.8.3 asks for two's complement with Dose Type ERROR
    said = [line for line in findings(written, tmp_path) if "<PixelRepresentation" not in line.replace("/", "")]
    assert said == []


def test_ten_percent_more_is_ten_percent_more(run: Run) -> None:
    ran = run(dose(1.1), dose())
    found = ran.result.comparison
    assert found is not None
    assert found.gamma is not None
    of_reference = {m.structure: m for m in found.metrics}
    for metrics in ran.result.metrics:
        for name in ("d_mean_gy", "d95_gy", "d2_gy"):
            of = getattr(of_reference[metrics.structure], name)
            assert getattr(metrics, name) == pytest.approx(1.1 * of, rel=1e-4)
    written = ran.stored[OutputKind.DOSE_DIFFERENCE]
    difference = written.pixel_array * float(written.DoseGridScaling)
    assert difference == pytest.approx(0.1 * hump(ORIGIN, SPACING, SHAPE), abs=1e-5)
    assert 50 < found.gamma.passed_percent < 100
    loose = run(dose(1.1), dose(), parameters={"gamma": {"dose_percent": 10.1}}).result.comparison
    assert loose is not None
    assert loose.gamma is not None
    assert loose.gamma.passed_percent == 100.0


def test_the_difference_has_the_sign_of_the_dose_minus_its_reference(run: Run) -> None:
    less = run(dose(0.9), dose()).result.comparison
    assert less is not None
    assert less.mean_difference_gy is not None
    assert less.mean_difference_gy < -3


def test_another_grid_is_the_same_dose(run: Run) -> None:
    """The reference on planes that lie elsewhere, stored from above downwards, its offsets as places."""
    origin, spacing, shape = (-33.2, -31.9, -18.5), (2.5, 2.5, 2.5), (16, 26, 27)
    other = rtdose(
        STUDY,
        hump(origin, spacing, shape),
        origin_mm=origin,
        spacing_mm=spacing,
        absolute=True,
        flip=(True, False, True),
        DoseType="EFFECTIVE",
    )
    found = run(dose(), reread(other)).result.comparison
    assert found is not None
    assert found.gamma is not None
    assert found.gamma.passed_percent == 100.0
    assert found.mean_difference_gy == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        ({}, {"FrameOfReferenceUID": "1.2.3"}, ErrorCode.FRAME_OF_REFERENCE_MISMATCH),
        ({"FrameOfReferenceUID": "1.2.3"}, None, ErrorCode.FRAME_OF_REFERENCE_MISMATCH),
        ({"DoseType": "PHYSICAL"}, {}, ErrorCode.UNSUPPORTED_DOSE),
        ({}, {"DoseType": "PHYSICAL"}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseType": "PHYSICAL"}, {"DoseType": "PHYSICAL"}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseType": "PHYSICAL"}, None, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseSummationType": "BEAM"}, {}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseUnits": "RELATIVE"}, None, ErrorCode.UNSUPPORTED_DOSE),
        ({}, {"origin_mm": (500.0, 0.0, 0.0)}, ErrorCode.UNSUPPORTED_GEOMETRY),
    ],
    ids=str,
)
def test_what_is_not_the_same_quantity_is_not_compared(
    run: Run, one: dict[str, Any], other: dict[str, Any] | None, code: ErrorCode
) -> None:
    ran = run(dose(**one), None if other is None else dose(**other))
    assert ran.result.error is not None
    assert ran.result.error.code is code
    assert not ran.result.retryable
    assert ran.stored == {}


def test_the_sum_of_two_plans_is_judged_as_one_dose(run: Run) -> None:
    """Adding a dose of another level is as scaling; so is another grid, but for what is linear between its points."""
    level = {m.structure: m for m in run(dose()).result.metrics}
    spacing = (1.5, 1.5, 1.5)
    fine = hump(ORIGIN, spacing, (23, 43, 41)) * np.float32(0.5)
    finer = rtdose(STUDY, fine, origin_mm=ORIGIN, spacing_mm=spacing, DoseType="EFFECTIVE")
    for other in (dose(0.5), reread(finer)):
        ran = run(dose(), plus=other)
        assert ran.result.error is None, ran.result.error
        assert any("sum of two doses" in n for n in ran.result.notes)
        for found in ran.result.metrics:
            for name in ("d_mean_gy", "d95_gy", "d2_gy"):
                assert getattr(found, name) == pytest.approx(1.5 * getattr(level[found.structure], name), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"DoseType": "PHYSICAL"}, "they are not added"),
        ({"DoseSummationType": "BEAM"}, "only doses of whole plans"),
        ({"origin_mm": (-91.0, -32.5, -17.0)}, "outside of the grid"),
    ],
)
def test_what_is_no_sum_of_two_plans_is_refused(run: Run, changes: dict[str, Any], says: str) -> None:
    for rtdose_, plus in ((dose(), dose(**changes)), (dose(**changes), dose())):
        error = run(rtdose_, plus=plus).result.error
        assert error is not None
        assert says in error.message


def test_what_the_dose_is_of_is_said(run: Run) -> None:
    ran = run(dose(DoseSummationType="BEAM"), dose(DoseSummationType="BEAM"))
    assert any("BEAM" in note for note in ran.result.notes)
    assert ran.stored[OutputKind.DOSE_DIFFERENCE].DoseSummationType == "BEAM"


def test_an_overview_of_plans_is_judged_and_said(run: Run, tmp_path: Path) -> None:
    ran = run(dose(DoseSummationType="PLAN_OVERVIEW"), dose(DoseSummationType="PLAN_OVERVIEW"))
    assert ran.result.error is None, ran.result.error
    assert any("(300C,0116)" in note for note in ran.result.notes)
    assert ran.stored[OutputKind.DOSE_DIFFERENCE].DoseSummationType == "MULTI_PLAN"


PHYSICAL: Any = {"DoseType": "PHYSICAL"}
PRESCRIBED = Prescription(target="PTV", dose_gy=50, fractions=25)


def mean_of(ran: Ran, structure: str = "PTV") -> float:
    return next(m.d_mean_gy for m in ran.result.metrics if m.structure == structure)


def test_physical_dose_is_not_judged_by_what_is_rbe_weighted(run: Run) -> None:
    weighted = mean_of(run(dose()))
    for asked in ({"goals": GOALS}, {"goals": (), "prescription": PRESCRIBED}):
        refused = run(dose(**PHYSICAL), **asked).result.error
        assert refused is not None
        assert (refused.code, "rbe" in refused.remedy) == (ErrorCode.UNSUPPORTED_DOSE, True)
        converted = run(dose(**PHYSICAL), parameters={"rbe": 1.1}, **asked)
        assert converted.result.error is None
        assert mean_of(converted) == pytest.approx(1.1 * weighted, rel=1e-5)
        assert converted.result.dose_quantity == "RBE_WEIGHTED"
        assert any("1.1" in note for note in converted.result.notes)
    alone = run(dose(**PHYSICAL), goals=())
    assert (alone.result.error, alone.result.dose_quantity) == (None, "PHYSICAL")
    assert mean_of(alone) == pytest.approx(weighted, rel=1e-5)
    assert any("physical" in note for note in alone.result.notes)


def test_the_physical_dose_of_a_photon_plan_is_what_is_prescribed(run: Run) -> None:
    photons = dose(**PHYSICAL)
    photons.ReferencedRTPlanSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"
    ran = run(photons)
    assert ran.result.error is None
    assert (ran.result.dose_quantity, [g.status for g in ran.result.goals]) == ("RBE_WEIGHTED", ["met", "met"])


def test_a_physical_dose_is_compared_with_a_weighted_one_where_the_rbe_is_given(run: Run) -> None:
    for one, other in ((dose(1 / 1.1, **PHYSICAL), dose()), (dose(), dose(1 / 1.1, **PHYSICAL))):
        ran = run(one, other, parameters={"rbe": 1.1})
        found = ran.result.comparison
        assert found is not None
        assert found.gamma is not None
        assert (found.rbe_weighted, found.gamma.passed_percent) == (True, 100.0)
        assert found.mean_difference_gy == pytest.approx(0, abs=1e-4)
        assert found.reference_rbe == (1.1 if other.DoseType == "PHYSICAL" else 1.0)
        assert "RBE-weighted" in ran.stored[OutputKind.DOSE_DIFFERENCE].DoseComment
    both = run(dose(**PHYSICAL), dose(**PHYSICAL), goals=())
    assert both.result.comparison is not None
    assert not both.result.comparison.rbe_weighted
    assert "physical" in both.stored[OutputKind.DOSE_DIFFERENCE].DoseComment


@pytest.mark.parametrize(
    ("scale", "outcome", "ids"),
    [
        (1.0, "pass", set()),
        (1.015, "pass", set()),
        (1.03, "look", {"mean.target", "mean.high_dose"}),
        (1.06, "fail", {"mean.target", "mean.high_dose"}),
        (0.94, "fail", {"mean.target", "mean.high_dose"}),
    ],
)
def test_a_dose_is_judged_by_what_gamma_passes(run: Run, scale: float, outcome: str, ids: set[str]) -> None:
    prescribed = Prescription(target="PTV", dose_gy=45, fractions=15)
    verdict = run(dose(scale), dose(), prescription=prescribed).result.verdict
    assert verdict is not None
    assert verdict.result == outcome, verdict.reasons
    assert {c.id for c in verdict.criteria if c.result == verdict.result != "pass"} >= ids
    assert bool(verdict.reasons) == (outcome != "pass")
    assert next(c for c in verdict.criteria if c.id == "gamma.body").result == "pass" or abs(scale - 1) > 0.03


def test_without_a_known_target_nothing_passes(run: Run) -> None:
    study = box(shape=(10, 18, 18), target_mm=24.0, margin_mm=8.0)
    for item in study.rtstruct.RTROIObservationsSequence:
        item.RTROIInterpretedType = "ORGAN" if item.RTROIInterpretedType == "PTV" else item.RTROIInterpretedType
    values = hump(ORIGIN, SPACING, SHAPE)
    same = reread(rtdose(study, values, origin_mm=ORIGIN, spacing_mm=SPACING, DoseType="EFFECTIVE"))
    verdict = run(same, same, study=study).result.verdict
    assert verdict is not None
    assert verdict.result == "look"
    assert {c.id for c in verdict.criteria if c.value is None} >= {"gamma.target", "mean.target"}


@pytest.mark.parametrize(
    ("prescribed_gy", "outcome"), [(45.0, "pass"), (52.0, "look"), (5.0, "fail"), (450.0 / 4, "fail")]
)
def test_a_dose_of_another_level_than_prescribed_does_not_pass(run: Run, prescribed_gy: float, outcome: str) -> None:
    prescribed = Prescription(target="PTV", dose_gy=prescribed_gy, fractions=10)
    verdict = run(dose(), dose(), prescription=prescribed).result.verdict
    assert verdict is not None
    assert verdict.result == outcome, verdict.reasons

"""What the structure set says of a ROI's material: densities, boluses and couches, in the dose or in a note."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import (
    DensityOverride,
    EvaluationParameters,
    ImptBasicParameters,
    RecalculationParameters,
    WorkflowParameters,
)
from radiarch_worker.engines.mcsquare import calibration_for, load_calibration, prepare_ct
from radiarch_worker.engines.mcsquare.metals import METAL_HU
from radiarch_worker.model import Grid, Patient
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import prepare

from phantoms import Box as Cuboid
from phantoms import PhantomStudy, box, faults
from phantoms.study import closed_planar
from tests.worker.engines.runs import distal_r80_mm, pencil
from tests.worker.engines.water import Box, patient, refs

from .test_plans import BODY, GRID, TARGET

STUDY = box(seed="materials")
TERMS = ["REL_MASS_DENSITY", "REL_ELEC_DENSITY", "REL_STOP_RATIO", "REL_STOP_PWR_RATIO"]
OAR = 3
"""Number of the ROI that is given a material here."""


def read(study: PhantomStudy, parameters: WorkflowParameters | None = None, **options: Any) -> Patient:
    """A study as a plan begins with it."""
    loaded = load_patient(study.rtstruct, study.images, needed_rois=[2], **options)
    names = {s.name: StructureRef(name=s.name, roi_number=n, roi_name=s.name) for n, s in loaded.structures.items()}
    return prepare(loaded, names, parameters or ImptBasicParameters())[0]


def with_density(**properties: object) -> PhantomStudy:
    return faults.observed(STUDY, "OAR", properties=properties)


def rsp_of(found: Patient, number: int = OAR, name: str = "auto") -> float:
    """Stopping power that the engine's CT has in a ROI."""
    calibration = calibration_for(name, found.ct)
    ct = prepare_ct(found.ct, found.body, calibration)
    values = calibration.stopping_power(ct.hu[np.isin(ct.hu, found.ct.hu[found.structures[number].mask])])
    return float(np.unique(values).item())


def said(found: Patient) -> str:
    return "\n".join(found.notes)


def test_a_study_that_says_nothing_of_materials_is_as_it_was() -> None:
    found = read(STUDY)
    assert found.notes == ()
    assert not found.ct.has_metals


@pytest.mark.parametrize("value", [0.0, 0.3, 0.95, 1.0, 1.05, 1.8, 2.5, 3.7])
@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("parameters", [ImptBasicParameters(), RecalculationParameters()], ids=["plan", "check"])
def test_a_density_of_the_structure_set_counts_and_is_said(
    parameters: WorkflowParameters, term: str, value: float
) -> None:
    plain = read(STUDY)
    found = read(with_density(**{term: value}), parameters)
    mask = found.structures[OAR].mask
    (hu,) = np.unique(found.ct.hu[mask])
    assert np.array_equal(found.ct.hu[~mask], plain.ct.hu[~mask])
    calibration = calibration_for("auto", found.ct)
    index = round(float(hu - calibration.rsp_hu[0]))
    counted = {
        "REL_MASS_DENSITY": calibration.density_g_cm3(float(hu)),
        "REL_ELEC_DENSITY": float(calibration.electrons[index]),
        "REL_STOP_RATIO": float(calibration.rsp[index]),
        "REL_STOP_PWR_RATIO": float(calibration.rsp[index]),
    }[term]
    assert counted == pytest.approx(value, rel=0.01, abs=0.0015)
    (note,) = found.notes
    assert f"{term} in (3006,00B0) ROI Physical Properties Sequence" in note
    assert "16.4 cc of 'OAR' (ROI 3, type ORGAN) count as" in note


def test_an_implant_is_the_metal_of_its_density() -> None:
    found = read(with_density(REL_MASS_DENSITY=4.5, REL_ELEC_DENSITY=3.7))
    counted, unused = found.notes
    assert "count as titanium of 4.500 g/cm³, relative stopping power 3.1" in counted
    assert "REL_ELEC_DENSITY 3.7" in unused
    assert found.ct.has_metals
    assert rsp_of(found) == pytest.approx(3.18, abs=0.06)
    assert prepare_ct(found.ct, found.body, calibration_for("UCL_Toshiba", found.ct)).hu.max() == METAL_HU + 450


def test_stopping_power_counts_before_other_densities() -> None:
    found = read(with_density(REL_ELEC_DENSITY=1.8, REL_STOP_RATIO=1.1, EFFECTIVE_Z=9.0))
    assert rsp_of(found) == pytest.approx(1.1, abs=0.005)
    assert "EFFECTIVE_Z 9" in found.notes[1]
    assert "REL_ELEC_DENSITY 1.8" in found.notes[1]


def test_an_override_wins_over_the_structure_set() -> None:
    parameters = ImptBasicParameters(overrides=(DensityOverride(structure="OAR", hu=77),))
    found = read(with_density(REL_MASS_DENSITY=4.5), parameters)
    assert (found.ct.hu[found.structures[OAR].mask] == 77).all()
    assert "REL_MASS_DENSITY 4.5 (its density is overridden)" in said(found)


def test_properties_that_are_not_used_are_said() -> None:
    found = read(with_density(EFFECTIVE_Z=22.0))
    assert np.array_equal(found.ct.hu, read(STUDY).ct.hu)
    assert found.notes == (
        "Not used of (3006,00B0) ROI Physical Properties Sequence: 'OAR' (ROI 3, type ORGAN) EFFECTIVE_Z 22.",
    )


def test_a_density_of_the_whole_patient_is_not_used_and_said() -> None:
    found = read(faults.observed(STUDY, "BODY", properties={"REL_ELEC_DENSITY": 1.0}))
    assert np.array_equal(found.ct.hu, read(STUDY).ct.hu)
    assert "'BODY' (ROI 1, type EXTERNAL) REL_ELEC_DENSITY 1 (it would make the whole patient alike" in said(found)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"REL_MASS_DENSITY": -1.0}, "(3006,00B4) ROI Physical Property Value"),
        ({"REL_MASS_DENSITY": 26.0}, "expected 0 to 25"),
        ({"REL_STOP_RATIO": 99.0}, "relative stopping power 99"),
    ],
)
def test_densities_that_no_material_has_are_refused(properties: dict[str, object], words: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read(with_density(**properties))
    assert caught.value.code is ErrorCode.HU_OUT_OF_CALIBRATION
    assert "ROI 'OAR' (number 3)" in caught.value.info.message
    assert words in caught.value.info.message


def test_two_values_of_one_property_are_refused() -> None:
    study = with_density(REL_MASS_DENSITY=1.5)
    study.rtstruct.RTROIObservationsSequence.append(
        faults.observed(study, "OAR", properties={"REL_MASS_DENSITY": 2.5}).rtstruct.RTROIObservationsSequence[2]
    )
    with pytest.raises(InputRefusedError, match=r"has two values for REL_MASS_DENSITY: 1\.5 and 2\.5") as caught:
        read(study)
    assert caught.value.code is ErrorCode.UNREADABLE_RTSTRUCT


def test_an_evaluation_does_not_look_at_materials() -> None:
    found = read(with_density(REL_MASS_DENSITY=-1.0), EvaluationParameters())
    assert found.notes == ()


# --- outside of the patient -------------------------------------------------------------------------------------------

ABOVE = Cuboid((0.0, -74.0, 0.0), (64.0, 12.0, 48.0))
"""On the patient, where the CT has air."""


def beside(kind: str, *, hu: float | None = None, shape: Cuboid = ABOVE, **properties: object) -> PhantomStudy:
    """A study whose third ROI lies outside of BODY, and is in the CT where it has a number."""
    study = faults.observed(STUDY, "OAR", interpreted_type=kind, properties=properties)
    contours = []
    for image in study.images:
        z_mm = float(image.ImagePositionPatient[2])
        if (xy := shape.contour(z_mm, 4)) is not None:
            contours.append(closed_planar(xy, z_mm, image))
            if hu is not None:
                values = faults.stored(image)
                x, y = np.meshgrid(*(np.arange(40) * 4.0 - 78.0 for _ in "xy"))
                values[shape.contains(x, y, np.full_like(x, z_mm))] = hu + 1024
                faults.store(image, values)
    faults.contours_of(study, "OAR").ContourSequence = contours
    return study


def test_the_shape_is_outside() -> None:
    found = load_patient(beside("BOLUS").rtstruct, STUDY.images)
    assert not (found.structures[OAR].mask & found.body.mask).any()
    assert found.structures[OAR].mask.sum() == 16 * 3 * 12


@pytest.mark.parametrize("hu", [None, 0.0])
def test_a_bolus_with_a_density_is_part_of_the_patient(hu: float | None) -> None:
    found = read(beside("BOLUS", hu=hu, REL_MASS_DENSITY=1.03))
    mask = found.structures[OAR].mask
    assert found.body.mask[mask].all()
    assert rsp_of(found) == pytest.approx(1.03, abs=0.02)
    assert "36.9 cc of it lay outside and belong to the patient's outline" in said(found)
    ct = prepare_ct(found.ct, found.body, calibration_for("auto", found.ct))
    assert (ct.hu > -100).sum() == found.body.mask.sum()


def test_a_bolus_that_is_in_the_ct_counts_as_the_ct_has_it() -> None:
    found = read(beside("BOLUS", hu=-60.0))
    mask = found.structures[OAR].mask
    assert found.body.mask[mask].all()
    assert (found.ct.hu[mask] == -60).all()
    assert "By its type: 36.9 cc of 'OAR' (ROI 3, type BOLUS) count as the CT has it" in said(found)


def test_a_bolus_in_air_without_a_density_is_refused_unless_overridden() -> None:
    with pytest.raises(InputRefusedError) as caught:
        read(beside("BOLUS"))
    assert caught.value.code is ErrorCode.INCOMPLETE_STRUCTURE
    assert "is a BOLUS of which 36.9 cc lie outside 'BODY', where the CT has air" in caught.value.info.message
    parameters = ImptBasicParameters(overrides=(DensityOverride(structure="OAR", density_g_cm3=1.0),))
    found = read(beside("BOLUS"), parameters)
    assert found.body.mask[found.structures[OAR].mask].all()
    assert rsp_of(found) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kind", ["SUPPORT", "FIXATION"])
def test_a_device_beside_the_patient_is_not_in_the_dose_and_said(kind: str) -> None:
    found = read(beside(kind, hu=100.0, REL_ELEC_DENSITY=1.2))
    assert np.array_equal(found.body.mask, read(STUDY).body.mask)
    assert "36.9 cc of it lie outside 'BODY' and are not in the dose" in said(found)
    assert "REL_ELEC_DENSITY 1.2 (a device" in said(found)
    parameters = ImptBasicParameters(overrides=(DensityOverride(structure="OAR", hu=100, extend_body=True),))
    extended = read(beside(kind, hu=100.0), parameters)
    assert extended.body.mask[extended.structures[OAR].mask].all()


def test_a_device_inside_the_patient_counts_as_the_ct_has_it() -> None:
    found = read(faults.observed(STUDY, "OAR", interpreted_type="FIXATION"))
    assert np.array_equal(found.ct.hu, read(STUDY).ct.hu)
    assert found.notes == ()


@pytest.mark.parametrize("kind", ["BOLUS", "SUPPORT", ""])
def test_what_reaches_beyond_the_ct_is_cut(kind: str) -> None:
    wide = Cuboid((0.0, -74.0, 0.0), (300.0, 12.0, 400.0))
    found = read(beside(kind, shape=wide, REL_MASS_DENSITY=1.0))
    assert "lies outside of the CT and was left out" in said(found)
    assert found.structures[OAR].mask.sum() == 40 * 3 * 30


# --- contours that cannot be read -------------------------------------------------------------------------------------


def unclear(study: PhantomStudy) -> PhantomStudy:
    """The third ROI's contours are stored again, 1 mm smaller: walls, or copies."""
    bad = study.copy()
    sequence = faults.contours_of(bad, "OAR").ContourSequence
    for contour in list(sequence):
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        middle = points[:, :2].mean(axis=0)
        sequence.append(closed_planar(points[:, :2] - np.sign(points[:, :2] - middle), points[0, 2]))
    return bad


def test_a_roi_with_a_material_is_not_left_out_for_its_contours() -> None:
    assert OAR not in read(unclear(STUDY)).structures
    for study in (with_density(REL_MASS_DENSITY=1.5), beside("BOLUS", hu=0.0)):
        with pytest.raises(InputRefusedError) as caught:
            read(unclear(study))
        assert caught.value.code is ErrorCode.AMBIGUOUS_STRUCTURE
    with pytest.raises(InputRefusedError):
        read(unclear(STUDY), overridden_rois=[OAR])
    # nothing is computed on an evaluation's patient, and a couch is not in the dose
    loaded = load_patient(*_inputs(unclear(with_density(REL_MASS_DENSITY=1.5))), computes_dose=False)
    assert OAR not in loaded.structures
    assert OAR not in read(unclear(beside("SUPPORT", REL_MASS_DENSITY=1.5))).structures


def _inputs(study: PhantomStudy) -> tuple[Any, Any]:
    return study.rtstruct, study.images


def test_an_empty_roi_with_a_material_is_said() -> None:
    study = faults.empty_roi(with_density(REL_MASS_DENSITY=1.5), "OAR")
    assert "'OAR'" in said(read(study))


# --- by the engine ----------------------------------------------------------------------------------------------------

PLATE: Box = ((-45.0, 45.0), (-90.0, -86.0), (708.0, 790.0))


@pytest.mark.engine
@pytest.mark.parametrize("density_g_cm3", [2.0, 2.7, 4.5, 7.9, 19.3])
def test_a_metal_takes_its_stopping_power_from_the_range(density_g_cm3: float, tmp_path: Path) -> None:
    from radiarch_worker.engines import mcsquare
    from radiarch_worker.engines.mcsquare import SpotPlan

    from tests.worker.engines.runs import settings

    fine = Grid((-9.0, -112.5, 741.0), (6.0, 1.5, 6.0), (4, 104, 4))
    ends = []
    for value in (1.0, density_g_cm3):
        p = patient(GRID, BODY, {"PTV": TARGET, "Plate": PLATE})
        override = DensityOverride(structure="Plate", density_g_cm3=value)
        p = prepare(p, refs(p), ImptBasicParameters(overrides=(override,), ct_calibration="UCL_Toshiba"))[0]
        calibration = calibration_for("UCL_Toshiba", p.ct)
        run = settings(tmp_path / str(value))
        run.job_dir.mkdir()
        run = type(run)(run.machine, calibration, run.seed, run.threads, run.job_dir, run.reporter)
        ct = prepare_ct(p.ct, p.body, calibration)
        everywhere = np.ones(fine.shape, dtype=bool)
        beams = SpotPlan((pencil(130.0, 0.0, (0.0, -20.0, 750.0)),))
        result = mcsquare.compute_beamlets(ct, beams, fine, everywhere, 20_000, run)
        dose = np.zeros(fine.shape, dtype=np.float32)
        dose.ravel()[result.voxels] = result.matrix[:, 0].toarray().ravel()
        ends.append((distal_r80_mm(dose, fine, 1, True), rsp_of(p, 3, "UCL_Toshiba")))
    (water_mm, water), (metal_mm, metal) = ends
    thickness_mm = 3.0 * int(p.structures[3].mask.any(axis=(0, 2)).sum())
    assert water_mm - metal_mm == pytest.approx(thickness_mm * (metal - water), rel=0.03, abs=0.7)


def test_metals_begin_where_a_calibration_ends() -> None:
    for name in ("generic-icru", "UCL_Toshiba"):
        own = load_calibration(name)
        metals = own.with_metals()
        assert metals.with_metals() is metals
        assert metals.hu_max == own.hu_max
        assert np.array_equal(metals.rsp[: len(own.rsp)], own.rsp)
        ends = (float(own.density[:, 1].max()), 4.5, 25.0)
        assert [metals.density_g_cm3(metals.hu_of_density(d)) for d in ends] == pytest.approx(ends)
        assert (np.diff(metals.density[:, 1]) >= 0).all()
        assert len(metals.rsp) == len(metals.rsp_hu) == len(metals.electrons)

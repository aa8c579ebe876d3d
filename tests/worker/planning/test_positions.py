"""A patient who lies otherwise in the same place of the room, under the same beams, gets the same dose there."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import JobSpec
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Beam, ImptBasicParameters, Prescription, RecalculationParameters
from radiarch_worker.dicom import encode, write_rtdose, write_rtplan
from radiarch_worker.evaluation import Evaluation, evaluate
from radiarch_worker.model import Patient, PlanResult
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import plan
from radiarch_worker.recalculation import read_ion_plan, recompute

from phantoms import Box, PhantomRoi, PhantomStudy
from phantoms.positions import POSITIONS, from_supine, gantry_axes, lying, setup
from phantoms.study import make_study
from tests.worker.engines.water import Recorder, refs
from tests.worker.runtime.conftest import make_spec

Volume = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

# Nothing is cubic, centred or symmetric: any axis, sign or side that is mistaken shows. Faces lie between voxels.
SPACING_MM = (4.0, 3.0, 5.0)
SHAPE = (19, 40, 27)
ORIGIN_MM = (-40.0, 130.0, -700.0)
BODY = Box((14.0, 190.0, -655.0), (96.0, 111.0, 85.0))
TARGET = Box((26.0, 176.5, -647.5), (24.0, 24.0, 20.0))
BONE = Box((30.0, 146.5, -642.5), (32.0, 12.0, 40.0))
BEAMS = (Beam(gantry_deg=20.0, couch_deg=0.0), Beam(gantry_deg=75.0, couch_deg=15.0))
PRESCRIPTION = Prescription(target="PTV", dose_gy=40.0, fractions=20)
QUICK = ImptBasicParameters(
    beams=BEAMS,
    spot_spacing_mm=8,
    layer_spacing_mm=8,
    scoring_spacing_mm=4,
    beamlet_primaries=200,
    final_primaries=160_000,
    max_iterations=30,
)


@cache
def supine() -> PhantomStudy:
    z, y, x = np.meshgrid(*(ORIGIN_MM[a] + SPACING_MM[a] * np.arange(SHAPE[2 - a]) for a in (2, 1, 0)), indexing="ij")
    hu = np.where(BODY.contains(x, y, z), 0.0, -1000.0)
    hu[BONE.contains(x, y, z)] = 900.0
    return make_study(
        hu.astype(np.float32),
        [
            PhantomRoi("BODY", BODY, "EXTERNAL", (0, 255, 0)),
            PhantomRoi("PTV", TARGET, "PTV", (255, 0, 0)),
            PhantomRoi("Bone", BONE, "ORGAN", (0, 0, 255)),
        ],
        origin_mm=ORIGIN_MM,
        spacing_mm=SPACING_MM,
        patient_id="RADIARCH-TURNED",
        patient_name="Phantom^Turned",
        study_description="Radiarch asymmetric box",
        series_description="CT asymmetric box",
        seed="patient positions",
    )


@cache
def loaded(position: str) -> Patient:
    study = lying(supine(), position)
    return load_patient(study.rtstruct, study.images)


def in_the_room(values: npt.NDArray[Scalar], position: str) -> npt.NDArray[Scalar]:
    """(Z, Y, X) of who lies so, as (Z, Y, X) of who lies head first supine in the same place."""
    turn = from_supine(position).T
    source = [int(np.flatnonzero(row)[0]) for row in turn]
    turned = values.transpose([2 - source[a] for a in (2, 1, 0)])
    flipped = tuple(slice(None, None, int(turn[a].sum())) for a in (2, 1, 0))
    return turned[flipped]


# -- reading the patient ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", POSITIONS)
def test_the_patient_is_read_where_he_is(position: str) -> None:
    there, here = loaded("HFS"), loaded(position)
    assert here.ct.patient_position == position
    assert np.array_equal(in_the_room(here.ct.hu, position), there.ct.hu)
    for number, structure in there.structures.items():
        assert np.array_equal(in_the_room(here.structures[number].mask, position), structure.mask)
    corner = np.array([here.ct.grid.axis_mm(a)[[0, -1]] for a in range(3)])
    room = from_supine(position).T @ corner
    assert np.sort(room) == pytest.approx(np.array([there.ct.grid.axis_mm(a)[[0, -1]] for a in range(3)]))


# -- planning -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    patient: Patient
    result: PlanResult
    judged: Evaluation
    rtplan: Dataset


def spec_of(patient: Patient) -> JobSpec:
    return make_spec(
        rtstruct_sop_instance_uid=patient.rtstruct_sop_instance_uid,
        patient_id=patient.ct.study.patient_id,
        study_instance_uid=patient.ct.study.study_instance_uid,
        prescription=PRESCRIPTION,
        structures=(StructureRef(name="PTV", roi_number=2, roi_name="PTV"),),
    )


def reread(dataset: Dataset) -> Dataset:
    return pydicom.dcmread(BytesIO(encode(dataset)))


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Planned]:
    made = {}
    for position in POSITIONS:
        p = loaded(position)
        folder = tmp_path_factory.mktemp(position)
        result = plan("proton-impt-basic", p, PRESCRIPTION, QUICK, refs(p), Recorder(), folder, 2)
        judged = evaluate(p, result.dose, PRESCRIPTION, (), refs(p))
        made[position] = Planned(p, result, judged, reread(write_rtplan(spec_of(p), p, result)))
    return made


@pytest.mark.engine
@pytest.mark.parametrize("position", POSITIONS)
def test_the_dose_is_the_same_in_the_room(planned: dict[str, Planned], position: str) -> None:
    there, here = planned["HFS"], planned[position]
    one = there.result.dose.dose_gy.astype(np.float64)
    other = in_the_room(here.result.dose.dose_gy.astype(np.float64), position)
    assert one.shape == other.shape
    assert there.judged.metrics[1].structure == "PTV"
    for a, b in zip(there.judged.metrics, here.judged.metrics, strict=True):
        assert a.structure == b.structure
        assert a.d_mean_gy == pytest.approx(b.d_mean_gy, abs=0.4)
    # 3 % of noise in a voxel: what differs beyond it is in another place, and much more than that
    assert np.sqrt(np.mean((one - other)[one > 20] ** 2)) < 2.5
    mirrored = one[:, :, ::-1]
    assert np.sqrt(np.mean((mirrored - other)[one > 20] ** 2)) > 8


@pytest.mark.engine
@pytest.mark.parametrize("position", POSITIONS)
def test_the_plan_is_the_same_for_the_machine(planned: dict[str, Planned], position: str) -> None:
    """Angles and spots are the machine's; setup and isocenter are the patient's."""
    there, here = planned["HFS"].rtplan, planned[position].rtplan
    assert set(setup(here).values()) == {position}
    for one, other in zip(there.IonBeamSequence, here.IonBeamSequence, strict=True):
        a, b = one.IonControlPointSequence[0], other.IonControlPointSequence[0]
        assert (a.GantryAngle, a.PatientSupportAngle) == (b.GantryAngle, b.PatientSupportAngle)
        assert from_supine(position) @ np.array(a.IsocenterPosition, float) == pytest.approx(
            np.array(b.IsocenterPosition, float), abs=0.011
        )
        assert spots_of(one).keys() == spots_of(other).keys()


def spots_of(beam: Dataset) -> dict[tuple[float, float, float], float]:
    """Meterset weight of each spot with more than the least, by energy and place."""
    found: dict[tuple[float, float, float], float] = {}
    for point in beam.IonControlPointSequence[::2]:
        xy = np.array(point.ScanSpotPositionMap, float).reshape(-1, 2)
        for (x, y), weight in zip(xy, np.atleast_1d(point.ScanSpotMetersetWeights), strict=True):
            if weight > 0.1:
                found[(float(point.NominalBeamEnergy), round(float(x), 2), round(float(y), 2))] = float(weight)
    return found


# -- an independent reader ----------------------------------------------------------------------------------------


ANGLES = [(20.0, 0.0, 110.0), (75.0, 15.0, 100.0), (250.0, 322.0, 120.0)]
"""Gantry, couch, and MeV with which a proton goes beyond the isocenter and stops in the patient."""
SPOT_MM = (9.0, -6.0)
SOURCE_MM = (2234.8, 1859.1)
"""From the sources of the machine's two scanning magnets to the isocenter; spots spread from there."""


def one_spot(rtplan: Dataset, gantry_deg: float, couch_deg: float, energy_mev: float) -> Dataset:
    """An RT Ion Plan of a single spot, at an angle."""
    ds = copy.deepcopy(rtplan)
    beam = ds.IonBeamSequence[0]
    first, second = beam.IonControlPointSequence[:2]
    first.GantryAngle, first.PatientSupportAngle = gantry_deg, couch_deg
    first.NominalBeamEnergy = second.NominalBeamEnergy = energy_mev
    beam.NumberOfRangeShifters = 0
    for holder, keyword in ((beam, "RangeShifterSequence"), (first, "RangeShifterSettingsSequence")):
        if keyword in holder:
            delattr(holder, keyword)
    for point, weight in ((first, 10.0), (second, 0.0)):
        point.NumberOfScanSpotPositions, point.ScanSpotPositionMap = 1, list(SPOT_MM)
        point.ScanSpotMetersetWeights = weight
    first.CumulativeMetersetWeight, second.CumulativeMetersetWeight = 0.0, 10.0
    beam.FinalCumulativeMetersetWeight, beam.NumberOfControlPoints = 10.0, 2
    beam.IonControlPointSequence = [first, second]
    ds.IonBeamSequence = [beam]
    group = ds.FractionGroupSequence[0]
    group.NumberOfBeams, group.ReferencedBeamSequence = 1, [group.ReferencedBeamSequence[0]]
    group.ReferencedBeamSequence[0].BeamMeterset = 10.0
    return reread(ds)


@pytest.mark.engine
@pytest.mark.parametrize("position", POSITIONS)
def test_who_reads_the_plan_alone_finds_the_spot_where_the_dose_is(
    planned: dict[str, Planned], position: str, tmp_path: Path
) -> None:
    p = planned[position].patient
    parameters = RecalculationParameters(final_primaries=20_000, scoring_spacing_mm=3, machine=QUICK.machine)
    for gantry, couch, energy_mev in ANGLES:
        rtplan = one_spot(planned[position].rtplan, gantry, couch, energy_mev)
        folder = tmp_path / f"{gantry}"
        made = recompute(read_ion_plan(rtplan), None, p, PRESCRIPTION, parameters, refs(p), Recorder(), folder, 2).plan
        judged = evaluate(p, made.dose, PRESCRIPTION, (), refs(p))
        points, gy = dose_points(reread(write_rtdose(spec_of(p), p, made, judged)))
        point = rtplan.IonBeamSequence[0].IonControlPointSequence[0]
        lies = setup(rtplan)[int(rtplan.IonBeamSequence[0].BeamNumber)]
        axes = gantry_axes(float(point.GantryAngle), float(point.PatientSupportAngle), lies)
        along = (points - np.array(point.IsocenterPosition, float)) @ axes  # in the gantry's system
        x, y, z = gy @ along / gy.sum()
        spread = [1 - z / source for source in SOURCE_MM]
        assert (x, y) == pytest.approx((SPOT_MM[0] * spread[0], SPOT_MM[1] * spread[1]), abs=1.0), (gantry, couch)
        # it shines from +Z: of what gets dose, the last centimetres before the range get most
        deep = along[:, 2] < np.quantile(along[:, 2], 0.2)
        assert gy[deep].mean() > 1.1 * gy[~deep].mean(), (gantry, couch)


def dose_points(rtdose: Dataset) -> tuple[Volume, Volume]:
    """(n, 3) patient LPS and (n,) Gy of the voxels of a stored dose with at least a fifth of its maximum."""
    gy = rtdose.pixel_array * float(rtdose.DoseGridScaling)
    k, j, i = np.nonzero(gy > 0.2 * gy.max())
    dy, dx = map(float, rtdose.PixelSpacing)
    x0, y0, z0 = map(float, rtdose.ImagePositionPatient)
    z = z0 + np.array(rtdose.GridFrameOffsetVector, float)
    return np.stack([x0 + dx * i, y0 + dy * j, z[k]], axis=1), gy[k, j, i]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("gantry", "couch"), [(0, 0), (90, 0), (37, 0), (180, 90), (211.5, 342), (300, 75)])
def test_beam_axes_are_those_of_the_standard(position: str, gantry: float, couch: float) -> None:
    from radiarch_worker.beam_axes import BeamAxes
    from radiarch_worker.position import PatientPosition

    ours = BeamAxes.of(gantry, couch, PatientPosition(position))
    theirs = gantry_axes(gantry, couch, position)
    assert ours.x == pytest.approx(theirs[:, 0])
    assert ours.y == pytest.approx(theirs[:, 1])
    assert ours.direction == pytest.approx(-theirs[:, 2])


# -- second checks ------------------------------------------------------------------------------------------------


def turned_plan(rtplan: Dataset, position: str) -> Dataset:
    """The plan of who lies head first supine, for the same place of the room in another position."""
    other = copy.deepcopy(rtplan)
    for item in other.PatientSetupSequence:
        item.PatientPosition = position
    for beam in other.IonBeamSequence:
        point = beam.IonControlPointSequence[0]
        point.IsocenterPosition = [float(v) for v in from_supine(position) @ np.array(point.IsocenterPosition, float)]
    return other


@pytest.mark.engine
def test_a_plan_that_is_turned_with_its_patient_is_computed_to_the_bit(
    planned: dict[str, Planned], tmp_path: Path
) -> None:
    parameters = RecalculationParameters(final_primaries=40_000, scoring_spacing_mm=3, machine=QUICK.machine)
    doses = {}
    for position in POSITIONS:
        p = loaded(position)
        read = read_ion_plan(turned_plan(planned["HFS"].rtplan, position))
        made = recompute(read, None, p, PRESCRIPTION, parameters, refs(p), Recorder(), tmp_path / position, 2)
        doses[position] = in_the_room(made.plan.dose.dose_gy, position)
        assert not any("does not say how the patient lies" in note for note in made.plan.notes)
    assert float(doses["HFS"].max()) > 20
    for position, dose in doses.items():
        assert np.array_equal(dose, doses["HFS"]), position


@pytest.mark.engine
def test_a_plan_for_another_position_is_refused_and_none_said_is_noted(
    planned: dict[str, Planned], tmp_path: Path
) -> None:
    p = loaded("FFS")
    parameters = RecalculationParameters(final_primaries=20_000, scoring_spacing_mm=6, machine=QUICK.machine)

    def computed(rtplan: Dataset) -> PlanResult:
        read = read_ion_plan(rtplan)
        return recompute(read, None, p, PRESCRIPTION, parameters, refs(p), Recorder(), tmp_path, 2).plan

    with pytest.raises(InputRefusedError) as caught:
        computed(planned["HFS"].rtplan)
    assert caught.value.code is ErrorCode.UNSUPPORTED_PATIENT_POSITION
    assert "HFS" in caught.value.info.message
    assert "FFS" in caught.value.info.message
    silent = copy.deepcopy(planned["FFS"].rtplan)
    del silent.PatientSetupSequence
    assert any("does not say how the patient lies" in note and "FFS" in note for note in computed(silent).notes)

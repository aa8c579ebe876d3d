"""Errors in what arrives at a second check, made on purpose: what each does to plan, dose or CT, and what may be said.

The plan is our own, on a water body with a bone slab, and its dose was computed with many protons. As a plan of known
beam data its level is checked; renamed it is one of a machine that nothing is known of, or of which other plans are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy import ndimage

from phantoms import PhantomStudy

Known = Literal["known", "unknown", "remembered"]
"""The plan's machine: of our beam data; never seen; with other plans that were checked."""
LOOKED: frozenset[str] = frozenset({"look", "fail", "refused"})
"""What may be said of an error: anything but that all is well."""
FAILED: frozenset[str] = frozenset({"fail", "refused"})
PASSED: frozenset[str] = frozenset({"pass"})
ANY: frozenset[str] = frozenset({"pass", "look", "fail"})
"""Of what is less than any action level."""


@dataclass
class Arriving:
    """What a check is made of, to be spoilt.

    Attributes
    ----------
    changes : of the job's specification
    """

    plan: Dataset
    dose: Dataset
    study: PhantomStudy
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Error:
    """One error: how it is made, for which machines it is tried, and what may be said of it."""

    name: str
    spoil: Callable[[Arriving], None]
    machines: Mapping[Known, frozenset[str]]


def beams(arriving: Arriving, number: int | None = None) -> Sequence[Dataset]:
    """The beams, or one of them."""
    found: Sequence[Dataset] = arriving.plan.IonBeamSequence
    return found if number is None else [found[number - 1]]


def metersets(factor: float, number: int | None = None) -> Callable[[Arriving], None]:
    """All MU, or a beam's, times a factor: weights are relative, so that the meterset says it all."""

    def spoil(arriving: Arriving) -> None:
        for item in arriving.plan.FractionGroupSequence[0].ReferencedBeamSequence:
            if number in (None, item.ReferencedBeamNumber):
                item.BeamMeterset = f"{float(item.BeamMeterset) * factor:.10g}"

    return spoil


def first_point(number: int | None = None, **values: Callable[[Any], Any]) -> Callable[[Arriving], None]:
    """Values of the first control point, from what they were."""

    def spoil(arriving: Arriving) -> None:
        for beam in beams(arriving, number):
            point = beam.IonControlPointSequence[0]
            for keyword, change in values.items():
                setattr(point, keyword, change(getattr(point, keyword)))

    return spoil


def isocenter(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Callable[[Arriving], None]:
    return first_point(IsocenterPosition=lambda v: [float(a) + b for a, b in zip(v, (x, y, z), strict=True)])


def energies(change: Callable[[float], float], number: int | None = None) -> Callable[[Arriving], None]:
    def spoil(arriving: Arriving) -> None:
        for beam in beams(arriving, number):
            for point in beam.IonControlPointSequence:
                point.NominalBeamEnergy = change(float(point.NominalBeamEnergy))

    return spoil


def spots(change: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], layers: slice) -> Callable[..., None]:
    """Places of spots, (n, 2) mm, in some layers of all beams; a layer has two control points."""

    def spoil(arriving: Arriving) -> None:
        for beam in beams(arriving):
            points = beam.IonControlPointSequence
            for k in range(len(points) // 2)[layers]:
                for point in points[2 * k : 2 * k + 2]:
                    xy = np.array(point.ScanSpotPositionMap, dtype=float).reshape(-1, 2)
                    point.ScanSpotPositionMap = change(xy).ravel().tolist()

    return spoil


def middle(arriving: Arriving) -> int:
    """Number of the middle layer of the first beam."""
    return len(beams(arriving)[0].IonControlPointSequence) // 4


def layer_dropped(arriving: Arriving) -> None:
    """The middle layer of the first beam is not there, nor is its meterset."""
    beam, at = beams(arriving)[0], 2 * middle(arriving)
    points = beam.IonControlPointSequence
    gone = float(points[at + 1].CumulativeMetersetWeight) - float(points[at].CumulativeMetersetWeight)
    del points[at : at + 2]
    for k, point in enumerate(points):
        point.ControlPointIndex = k
        if k >= at:
            point.CumulativeMetersetWeight = f"{float(point.CumulativeMetersetWeight) - gone:.10g}"
    beam.NumberOfControlPoints = len(points)
    left = f"{float(beam.FinalCumulativeMetersetWeight) - gone:.10g}"
    beam.FinalCumulativeMetersetWeight = left
    arriving.plan.FractionGroupSequence[0].ReferencedBeamSequence[0].BeamMeterset = left


def layers_exchanged(arriving: Arriving) -> None:
    """Two layers of the first beam have each other's energy."""
    points, last = beams(arriving)[0].IonControlPointSequence, 0
    last = len(points) // 2 - 1
    for k in (0, 1):
        one, other = points[k], points[2 * last + k]
        one.NominalBeamEnergy, other.NominalBeamEnergy = other.NominalBeamEnergy, one.NominalBeamEnergy


def gantries_exchanged(arriving: Arriving) -> None:
    one, other = (b.IonControlPointSequence[0] for b in beams(arriving)[:2])
    one.GantryAngle, other.GantryAngle = other.GantryAngle, one.GantryAngle
    one.PatientSupportAngle, other.PatientSupportAngle = other.PatientSupportAngle, one.PatientSupportAngle


def beam_dropped(arriving: Arriving) -> None:
    group = arriving.plan.FractionGroupSequence[0]
    group.NumberOfBeams = len(beams(arriving)) - 1
    del group.ReferencedBeamSequence[-1], arriving.plan.IonBeamSequence[-1]


def beam_named_only(arriving: Arriving) -> None:
    del arriving.plan.IonBeamSequence[-1]


def weights_mixed(arriving: Arriving) -> None:
    """The spots of each layer have each other's weights."""
    rng = np.random.default_rng(3)
    for beam in beams(arriving):
        for point in beam.IonControlPointSequence[::2]:
            weights = np.atleast_1d(np.array(point.ScanSpotMetersetWeights, dtype=float))
            point.ScanSpotMetersetWeights = rng.permutation(weights).tolist()


def range_shifter(arriving: Arriving) -> None:
    """A slab before the first beam that the dose was not computed with."""
    beam = beams(arriving)[0]
    slab, setting = Dataset(), Dataset()
    slab.RangeShifterNumber, slab.RangeShifterID, slab.RangeShifterType = 1, "RS_Block", "BINARY"
    setting.ReferencedRangeShifterNumber, setting.RangeShifterSetting = 1, "IN"
    setting.IsocenterToRangeShifterDistance, setting.RangeShifterWaterEquivalentThickness = 300.0, 73.1
    beam.NumberOfRangeShifters, beam.RangeShifterSequence = 1, [slab]
    beam.IonControlPointSequence[0].RangeShifterSettingsSequence = [setting]


def every_beam(**values: Any) -> Callable[[Arriving], None]:
    def spoil(arriving: Arriving) -> None:
        for beam in beams(arriving):
            for keyword, value in values.items():
                setattr(beam, keyword, value)

    return spoil


def wide_spots(arriving: Arriving) -> None:
    for beam in beams(arriving):
        for point in beam.IonControlPointSequence:
            point.ScanningSpotSize = [1.4 * float(v) for v in point.ScanningSpotSize]


def fractions(count: int) -> Callable[[Arriving], None]:
    def spoil(arriving: Arriving) -> None:
        arriving.plan.FractionGroupSequence[0].NumberOfFractionsPlanned = count

    return spoil


def position(arriving: Arriving) -> None:
    arriving.plan.PatientSetupSequence[0].PatientPosition = "HFP"


def hounsfield(shift: int) -> Callable[[Arriving], None]:
    def spoil(arriving: Arriving) -> None:
        for image in arriving.study.images:
            image.RescaleIntercept = float(image.RescaleIntercept) + shift

    return spoil


def dose(**values: Any) -> Callable[[Arriving], None]:
    def spoil(arriving: Arriving) -> None:
        for keyword, value in values.items():
            setattr(arriving.dose, keyword, value)

    return spoil


def scaled_dose(factor: float, **values: Any) -> Callable[[Arriving], None]:
    def spoil(arriving: Arriving) -> None:
        arriving.dose.DoseGridScaling = f"{float(arriving.dose.DoseGridScaling) * factor:.12g}"
        dose(**values)(arriving)

    return spoil


def pixels(change: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Callable[[Arriving], None]:
    """The dose's stored values, (Z, Y, X)."""

    def spoil(arriving: Arriving) -> None:
        values = change(arriving.dose.pixel_array.astype(np.float64))
        arriving.dose.PixelData = np.rint(np.clip(values, 0, 2**31 - 1)).astype("<u4").tobytes()

    return spoil


def moved_dose(arriving: Arriving) -> None:
    place = [float(v) for v in arriving.dose.ImagePositionPatient]
    arriving.dose.ImagePositionPatient = [place[0] + float(arriving.dose.PixelSpacing[1]), *place[1:]]


def of_another_plan(arriving: Arriving) -> None:
    arriving.dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def prescribed(**changes: Any) -> Callable[[Arriving], None]:
    """The protocol prescribes something else than the plan."""

    def spoil(arriving: Arriving) -> None:
        arriving.changes["prescription"] = arriving.changes["prescription"].model_copy(update=changes)

    return spoil


def nothing(arriving: Arriving) -> None:
    pass


def rename(plan: Dataset) -> Dataset:
    """The plan as of a machine of which we have no beam data."""
    renamed = copy.deepcopy(plan)
    for beam in renamed.IonBeamSequence:
        beam.TreatmentMachineName, beam.ManufacturerModelName = "GTR2", ""
    return renamed


def for_known(said: frozenset[str]) -> Mapping[Known, frozenset[str]]:
    return {"known": said}


def for_all(
    known: frozenset[str], remembered: frozenset[str], unknown: frozenset[str] = LOOKED
) -> Mapping[Known, frozenset[str]]:
    return {"known": known, "remembered": remembered, "unknown": unknown}


def shifted_layer(arriving: Arriving) -> None:
    at = middle(arriving)
    spots(lambda xy: xy + np.array([10.0, 0.0]), slice(at, at + 1))(arriving)


FACTS: tuple[Error, ...] = (
    Error("none", nothing, for_all(PASSED, PASSED)),
    Error("all MU × 1.03", metersets(1.03), for_all(LOOKED, LOOKED)),
    Error("all MU × 1.1", metersets(1.1), for_all(FAILED, FAILED)),
    Error("beam 1 MU × 1.1", metersets(1.1, 1), for_all(FAILED, LOOKED)),
    Error("20 fractions for 10", fractions(20), for_all(FAILED, FAILED, FAILED)),
    Error("RTDOSE of one fraction called PLAN", scaled_dose(0.1), for_all(FAILED, FAILED, FAILED)),
    Error("physical dose called EFFECTIVE", scaled_dose(1 / 1.1), for_all(FAILED, FAILED)),
    Error("isocenter x + 5 mm", isocenter(x=5), for_known(FAILED)),
    Error("gantry + 5°, one beam", first_point(1, GantryAngle=lambda v: float(v) + 5), for_known(FAILED)),
    Error("couch 15° → 345°, one beam", first_point(1, PatientSupportAngle=lambda _: 345.0), for_known(FAILED)),
    Error("x of spots mirrored", spots(lambda xy: xy * [-1, 1], slice(None)), for_known(LOOKED)),
    Error("one layer dropped", layer_dropped, for_known(LOOKED)),
    Error("all energies + 2 MeV", energies(lambda e: e + 2), for_all(LOOKED, LOOKED)),
    Error("CT + 50 HU", hounsfield(50), for_all(FAILED, LOOKED)),
)
"""The rows of the first measurement, all of which gamma above 10 % in BODY passed or nearly passed."""

MORE: tuple[Error, ...] = (
    Error("isocenter y + 2 mm", isocenter(y=2), for_known(LOOKED)),
    Error("isocenter z + 2 mm", isocenter(z=2), for_known(LOOKED)),
    Error("all energies − 2 MeV", energies(lambda e: e - 2), for_all(LOOKED, LOOKED)),
    Error("energies + 2 MeV, one beam", energies(lambda e: e + 2, 1), for_known(LOOKED)),
    Error("CT − 50 HU", hounsfield(-50), for_all(LOOKED, LOOKED)),
    Error("all MU − 5 %", metersets(0.95), for_all(LOOKED, LOOKED)),
    Error("one beam dropped", beam_dropped, for_all(FAILED, FAILED)),
    Error("one beam named and absent", beam_named_only, for_known(frozenset({"refused"}))),
    Error("11 fractions for 10", fractions(11), for_all(FAILED, FAILED, FAILED)),
    Error("two layers have each other's energy", layers_exchanged, for_known(LOOKED)),
    Error("gantries exchanged", gantries_exchanged, for_known(FAILED)),
    Error("weights of spots mixed within layers", weights_mixed, for_known(LOOKED)),
    Error("spots' places × 1.01", spots(lambda xy: xy * 1.01, slice(None)), for_known(ANY)),
    Error("spots' places × 1.2", spots(lambda xy: xy * 1.2, slice(None)), for_known(LOOKED)),
    Error("one layer shifted by 10 mm", shifted_layer, for_known(LOOKED)),
    Error("a range shifter that the dose has not", range_shifter, for_known(FAILED)),
    Error("spots 1.4 times as wide", wide_spots, {"remembered": LOOKED}),
    Error("virtual sources at 600 mm", every_beam(VirtualSourceAxisDistances=[600.0, 600.0]), for_known(LOOKED)),
    Error("the plan says HFP, the CT HFS", position, for_known(FAILED)),
    Error("protocol: 20 Gy less", prescribed(dose_gy=20.0), for_known(FAILED)),
    Error("protocol: 9 fractions", prescribed(fractions=9), for_known(FAILED)),
    Error("RTDOSE × 0.97", scaled_dose(0.97), for_all(LOOKED, LOOKED)),
    Error("RTDOSE shifted by a voxel", moved_dose, for_all(LOOKED, LOOKED)),
    Error("RTDOSE smoothed by 6 mm", pixels(lambda v: ndimage.gaussian_filter(v, 2)), for_known(LOOKED)),
    Error("RTDOSE turned over", pixels(lambda v: v[:, ::-1]), for_known(FAILED)),
    Error("RTDOSE of another plan, called this one's", pixels(lambda v: np.roll(v, 5, axis=0)), for_known(FAILED)),
    Error("RTDOSE that names another plan", of_another_plan, for_known(frozenset({"refused"}))),
    Error("RBE-weighted RTDOSE called PHYSICAL", dose(DoseType="PHYSICAL"), for_all(FAILED, FAILED)),
    Error("physical RTDOSE that says so", scaled_dose(1 / 1.1, DoseType="PHYSICAL"), for_all(PASSED, PASSED)),
    Error("RTDOSE of a fraction", scaled_dose(0.1, DoseSummationType="FRACTION"), for_known(frozenset({"refused"}))),
    Error("RTDOSE of a beam", dose(DoseSummationType="BEAM"), for_known(frozenset({"refused"}))),
)

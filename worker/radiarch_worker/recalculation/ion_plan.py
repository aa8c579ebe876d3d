"""Reading RT Ion Plans of any system: spots, metersets, geometry; what cannot be computed truthfully is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID, RTIonPlanStorage, RTPlanStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import IonBeam, Layer, RangeShifter, Vector3
from radiarch_worker.patient.attributes import Reader
from radiarch_worker.patient.limits import MAX_COORDINATE_MM

MAX_BEAMS = 40
MAX_CONTROL_POINTS = 5_000
MAX_SPOTS = 500_000
MAX_MU = 1e7
WEIGHT_TOLERANCE = 1e-3
"""Of a beam's meterset: by how much spot weights and cumulative weights may differ (both are rounded)."""
ANGLE_TOLERANCE_DEG = 0.01
MAX_SPOT_FWHM_MM = 100.0

_MODIFIERS = (
    ("NumberOfWedges", "wedges"),
    ("NumberOfCompensators", "compensators"),
    ("NumberOfBoli", "boli"),
    ("NumberOfBlocks", "blocks"),
    ("NumberOfLateralSpreadingDevices", "lateral spreading devices"),
    ("NumberOfRangeModulators", "range modulators"),
)
_FLAT = (
    ("GantryPitchAngle", "the gantry's pitch"),
    ("TableTopPitchAngle", "the table top's pitch"),
    ("TableTopRollAngle", "the table top's roll"),
    ("TableTopEccentricAngle", "the table top's eccentric angle"),
)


@dataclass(frozen=True)
class ReadPlan:
    """An RT Ion Plan as it is to be delivered.

    Attributes
    ----------
    beams : treatment beams with their spots; meterset for one fraction, in MU of the plan's own machine
    machines : treatment machine's name and model of each beam, as the plan says
    targets : ROI numbers of the dose references of type TARGET
    """

    sop_class_uid: str
    sop_instance_uid: str
    label: str
    manufacturer: str
    frame_of_reference_uid: str
    structure_sets: tuple[str, ...]
    fractions: int
    beams: tuple[IonBeam, ...]
    machines: tuple[tuple[str, str], ...]
    targets: tuple[int, ...]
    notes: tuple[str, ...] = ()


def read_ion_plan(dataset: Dataset) -> ReadPlan:
    """Read an RT Ion Plan.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtplan`` where an attribute is missing or contradicts others, ``unsupported_plan`` naming what is
        in the beam that cannot be computed.
    """
    reader = Reader(dataset, "The RT Ion Plan", ErrorCode.UNREADABLE_RTPLAN)
    sop_class = reader.text("SOPClassUID")
    if sop_class == RTPlanStorage:
        raise unsupported(
            "the plan is an RT Plan (photons or electrons), expected an RT Ion Plan: there is no engine for it",
            "Name a proton plan; photon plans are not recalculated.",
        )
    if sop_class != RTIonPlanStorage:
        raise reader.error("SOPClassUID", f"is {UID(sop_class).name[:64] or 'empty'}, expected RT Ion Plan Storage")
    try:
        return _read(reader)
    except InputRefusedError:
        raise
    # A hostile object can raise nearly anything from pydicom; its text may quote values, so only the kind is told.
    except Exception as e:
        raise InputRefusedError(
            f"the RT Ion Plan cannot be read: reading it failed with {type(e).__name__}",
            remedy="Export the plan again.",
            code=ErrorCode.UNREADABLE_RTPLAN,
        ) from e


def _read(reader: Reader) -> ReadPlan:
    if (geometry := reader.text("RTPlanGeometry")) not in ("PATIENT", ""):
        raise unsupported(
            f"(300A,000C) RT Plan Geometry is {geometry[:16]!r}, expected PATIENT",
            "Name a plan that was made on a patient's images.",
        )
    positions = {item.text("PatientPosition") for item in _children(reader, "PatientSetupSequence")} - {""}
    if positions - {"HFS"}:
        raise unsupported(
            f"the plan's Patient Position is {', '.join(sorted(positions))[:40]}, only HFS is computed",
            "Recalculate plans for patients head first supine.",
        )
    fractions, metersets = _fraction_group(reader)
    items = _children(reader, "IonBeamSequence")
    if not 1 <= len(items) <= MAX_BEAMS:
        raise reader.error("IonBeamSequence", f"has {len(items)} beams, expected 1 to {MAX_BEAMS}")
    beams: list[IonBeam] = []
    machines: list[tuple[str, str]] = []
    notes: list[str] = []
    spots = 0
    for item in items:
        number = item.integer("BeamNumber", -(1 << 31), 1 << 31)
        if any(b.number == number for b in beams):
            raise reader.error("IonBeamSequence", f"has beam number {number} twice")
        name = item.text("BeamName")[:64] or f"Beam {number}"
        if item.text("TreatmentDeliveryType") not in ("TREATMENT", "CONTINUATION", ""):
            notes.append(f"Beam {number} is not for treatment and was left out.")
            continue
        if number not in metersets:
            notes.append(f"Beam {number} has no meterset in the fraction group and was left out.")
            continue
        beam = _Beam(item, number, name, metersets[number]).read()
        spots += sum(len(layer.meterset_mu) for layer in beam.layers)
        if spots > MAX_SPOTS:
            raise InputRefusedError(
                f"the plan has more than {MAX_SPOTS} spots",
                remedy="Recalculate it in parts.",
                code=ErrorCode.TOO_LARGE,
            )
        beams.append(beam)
        machines.append((item.text("TreatmentMachineName")[:64], item.text("ManufacturerModelName")[:64]))
    if not beams:
        raise reader.error("IonBeamSequence", "has no beam for treatment that has a meterset")
    return ReadPlan(
        sop_class_uid=reader.uid("SOPClassUID"),
        sop_instance_uid=reader.uid("SOPInstanceUID"),
        label=reader.text("RTPlanLabel")[:64],
        manufacturer=reader.text("Manufacturer")[:64],
        frame_of_reference_uid=reader.text("FrameOfReferenceUID"),
        structure_sets=tuple(
            i.uid("ReferencedSOPInstanceUID") for i in _children(reader, "ReferencedStructureSetSequence")
        ),
        fractions=fractions,
        beams=tuple(beams),
        machines=tuple(machines),
        targets=tuple(
            i.integer("ReferencedROINumber", -(1 << 31), 1 << 31)
            for i in _children(reader, "DoseReferenceSequence")
            if i.text("DoseReferenceType") == "TARGET" and i.value("ReferencedROINumber") is not None
        ),
        notes=tuple(notes),
    )


def _fraction_group(reader: Reader) -> tuple[int, dict[int, float]]:
    """Fractions and each beam's MU for one fraction."""
    groups = _children(reader, "FractionGroupSequence")
    if len(groups) != 1:
        raise unsupported(
            f"the plan has {len(groups)} fraction groups, expected one",
            "Recalculate plans with one fraction group.",
        )
    group = groups[0]
    fractions = group.integer("NumberOfFractionsPlanned", 1, 1000)
    metersets: dict[int, float] = {}
    for item in _children(group, "ReferencedBeamSequence"):
        number = item.integer("ReferencedBeamNumber", -(1 << 31), 1 << 31)
        if item.value("BeamMeterset") is None:
            continue
        (meterset,) = item.floats("BeamMeterset", 1)
        if number in metersets or not 0 < meterset <= MAX_MU:
            raise item.error("BeamMeterset", f"of beam {number} is {meterset:g} MU or given twice")
        metersets[number] = meterset
    return fractions, metersets


@dataclass(frozen=True)
class _Beam:
    """One item of the Ion Beam Sequence."""

    item: Reader
    number: int
    name: str
    meterset_mu: float

    def read(self) -> IonBeam:
        self._check_kind()
        points = _children(self.item, "IonControlPointSequence")
        if not 2 <= len(points) <= MAX_CONTROL_POINTS:
            raise self._contradiction(f"has {len(points)} control points, expected 2 to {MAX_CONTROL_POINTS}")
        gantry, couch, isocenter = self._geometry(points)
        shifter = self._range_shifter(points)
        return IonBeam(self.number, self.name, gantry, couch, isocenter, self._layers(points), shifter)

    def _check_kind(self) -> None:
        item = self.item
        for keyword, expected in (
            ("RadiationType", "PROTON"),
            ("ScanMode", "MODULATED"),
            ("BeamType", "STATIC"),
            ("PrimaryDosimeterUnit", "MU"),
        ):
            found = item.text(keyword)
            if found != expected:
                raise self._unsupported(f"has {keyword} {found[:24] or 'empty'!r}, expected {expected}")
        for keyword, name in _MODIFIERS:
            if item.value(keyword) is not None and item.integer(keyword, 0, 1000) > 0:
                raise self._unsupported(f"has {name} ({item.integer(keyword, 0, 1000)}), which are not computed")
        if item.items("IonWedgeSequence"):
            raise self._unsupported("has wedges, which are not computed")

    def _range_shifter(self, points: Sequence[Reader]) -> RangeShifter | None:
        """The slab in the beam; which slab of the machine that is, is not settled here.

        Raises
        ------
        InputRefusedError
            More than one, one that is not simply in or out, moves, or whose thickness or place is not told.
        """
        item, count = self.item, 0
        if item.value("NumberOfRangeShifters") is not None:
            count = item.integer("NumberOfRangeShifters", 0, 1000)
        shifters = _children(item, "RangeShifterSequence")
        if max(count, len(shifters)) > 1:
            raise self._unsupported(f"has {max(count, len(shifters))} range shifters; one at most is computed")
        settings = [_children(p, "RangeShifterSettingsSequence") for p in points]
        if not shifters:
            if count or any(settings):
                raise self._contradiction("has range shifters that its Range Shifter Sequence does not describe")
            return None
        kind = shifters[0].text("RangeShifterType")
        if kind != "BINARY":
            raise self._unsupported(f"has a range shifter of type {kind[:16] or '(none)'!r}; only BINARY is computed")
        found: RangeShifter | None = None
        for k, settings_of_point in enumerate(settings):
            if len(settings_of_point) > 1:
                raise self._contradiction(f"has {len(settings_of_point)} range shifter settings at control point {k}")
            for setting in settings_of_point:
                at_point = self._setting(setting, shifters[0].text("RangeShifterID"))
                if k == 0:
                    found = at_point
                elif at_point != found:
                    raise self._unsupported("has a range shifter that moves between control points")
        if not settings[0]:
            raise self._unsupported("has a range shifter of which its first control point does not say where it is")
        return found

    def _setting(self, setting: Reader, shifter_id: str) -> RangeShifter | None:
        where = setting.text("RangeShifterSetting")
        if where == "OUT":
            return None
        if where != "IN":
            raise self._unsupported(f"has a range shifter setting {where[:16]!r}; IN and OUT are computed")
        for keyword, name in (
            ("RangeShifterWaterEquivalentThickness", "water-equivalent thickness"),
            ("IsocenterToRangeShifterDistance", "distance from the isocenter"),
        ):
            if setting.value(keyword) is None:
                raise self._unsupported(f"has a range shifter {shifter_id[:16]!r} without {name}")
        (thickness_mm,) = setting.floats("RangeShifterWaterEquivalentThickness", 1)
        (distance_mm,) = setting.floats("IsocenterToRangeShifterDistance", 1)
        if not (0 < thickness_mm < MAX_COORDINATE_MM and abs(distance_mm) < MAX_COORDINATE_MM):
            raise self._contradiction(f"has a range shifter of {thickness_mm:g} mm at {distance_mm:g} mm")
        return RangeShifter(shifter_id[:16], thickness_mm, distance_mm)

    def _geometry(self, points: Sequence[Reader]) -> tuple[float, float, Vector3]:
        first = points[0]
        (gantry,) = first.floats("GantryAngle", 1)
        (couch,) = first.floats("PatientSupportAngle", 1)
        isocenter = first.floats("IsocenterPosition", 3)
        if max(abs(v) for v in isocenter) > MAX_COORDINATE_MM:
            raise first.error("IsocenterPosition", f"of beam {self.number} is beyond {MAX_COORDINATE_MM:g} mm")
        fixed = {"GantryAngle": (gantry,), "PatientSupportAngle": (couch,), "IsocenterPosition": isocenter}
        for point in points:
            for keyword, expected in fixed.items():
                if point.value(keyword) is None:
                    continue
                found = point.floats(keyword, len(expected))
                if max(abs(a - b) for a, b in zip(found, expected, strict=True)) > ANGLE_TOLERANCE_DEG:
                    raise self._unsupported(f"moves while it shines: its {keyword} changes between control points")
            for keyword, name in _FLAT:
                if point.value(keyword) is not None and abs(point.floats(keyword, 1)[0]) > ANGLE_TOLERANCE_DEG:
                    raise self._unsupported(f"has {name} of {point.floats(keyword, 1)[0]:g}°, only 0 is computed")
        return gantry % 360.0, couch % 360.0, (isocenter[0], isocenter[1], isocenter[2])

    def _layers(self, points: Sequence[Reader]) -> tuple[Layer, ...]:
        (final,) = self.item.floats("FinalCumulativeMetersetWeight", 1)
        if not final > 0:
            raise self._contradiction(f"has a final cumulative meterset weight of {final:g}")
        cumulative = [p.floats("CumulativeMetersetWeight", 1)[0] for p in points]
        if abs(cumulative[0]) > WEIGHT_TOLERANCE * final or abs(cumulative[-1] - final) > WEIGHT_TOLERANCE * final:
            raise self._contradiction(f"has cumulative meterset weights from {cumulative[0]:g} to {cumulative[-1]:g}")
        layers: list[Layer] = []
        energy: float | None = None
        for k, point in enumerate(points):
            if point.value("NominalBeamEnergy") is not None:
                (energy,) = point.floats("NominalBeamEnergy", 1)
            if energy is None or not 1 < energy < 1000:
                raise self._contradiction(f"has no energy in MeV at control point {k}")
            xy, weights = self._spots(point, k)
            step = (cumulative[k + 1] if k + 1 < len(points) else final) - cumulative[k]
            if abs(float(weights.sum()) - step) > WEIGHT_TOLERANCE * final:
                raise self._contradiction(
                    f"has spot weights that sum to {weights.sum():g} at control point {k}, where its cumulative weight "
                    f"rises by {step:g}"
                )
            kept = weights > 0
            if kept.any():
                mu = weights[kept] * (self.meterset_mu / final)
                layers.append(Layer(energy, xy[kept, 0], xy[kept, 1], mu, _spot_fwhm_mm(point)))
        total = float(sum(layer.meterset_mu.sum() for layer in layers))
        if not layers or abs(total - self.meterset_mu) > WEIGHT_TOLERANCE * self.meterset_mu:
            raise self._contradiction(f"has spots of {total:g} MU, its meterset is {self.meterset_mu:g} MU")
        return tuple(layers)

    def _spots(self, point: Reader, index: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        count = point.integer("NumberOfScanSpotPositions", 1, MAX_SPOTS)
        xy = np.array(point.floats("ScanSpotPositionMap", 2 * count)).reshape(-1, 2)
        weights = np.array(point.floats("ScanSpotMetersetWeights", count))
        if (weights < 0).any() or np.abs(xy).max() > 1000.0:
            raise self._contradiction(f"has negative weights or spots beyond 1 m at control point {index}")
        return xy, weights

    def _unsupported(self, problem: str) -> InputRefusedError:
        return unsupported(
            f"beam {self.number} {problem}", "Recalculate plans of scanned proton beams without such devices."
        )

    def _contradiction(self, problem: str) -> InputRefusedError:
        return InputRefusedError(
            f"the RT Ion Plan's beam {self.number} {problem}",
            remedy="Export the plan again.",
            code=ErrorCode.UNREADABLE_RTPLAN,
        )


def _spot_fwhm_mm(point: Reader) -> tuple[float, float] | None:
    """Scanning Spot Size (300A,0398): full width at half maximum in air at the isocenter, where it is told."""
    if point.value("ScanningSpotSize") is None:
        return None
    x_mm, y_mm = point.floats("ScanningSpotSize", 2)
    return (x_mm, y_mm) if 0 < x_mm <= MAX_SPOT_FWHM_MM and 0 < y_mm <= MAX_SPOT_FWHM_MM else None


def unsupported(message: str, remedy: str) -> InputRefusedError:
    """The refusal of a plan that is right, but cannot be computed here."""
    return InputRefusedError(message, remedy=remedy, code=ErrorCode.UNSUPPORTED_PLAN)


def _children(reader: Reader, keyword: str) -> list[Reader]:
    return [Reader(item, reader.what, reader.code) for item in reader.items(keyword)]

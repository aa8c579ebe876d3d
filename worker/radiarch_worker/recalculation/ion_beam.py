"""Reading one item of an Ion Beam Sequence: geometry, devices, layers and spots; plans are read in `ion_plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.ion import IonBeam, Layer, RangeShifter
from radiarch_worker.model import Vector3
from radiarch_worker.patient.attributes import Reader, tag_name
from radiarch_worker.patient.limits import MAX_COORDINATE_MM

MAX_CONTROL_POINTS = 5_000
MAX_SPOTS = 500_000
WEIGHT_TOLERANCE = 1e-3
"""Of a beam's meterset: by how much spot weights and cumulative weights may differ (both are rounded)."""
ANGLE_TOLERANCE_DEG = 0.01
POSITION_TOLERANCE_MM = 0.01
MAX_SPOT_FWHM_MM = 100.0
MAX_SOURCE_DISTANCE_MM = 100_000.0
"""Beams that are scanned in parallel have their virtual source far away."""

_KIND = (
    ("RadiationType", ("PROTON",)),
    ("ScanMode", ("MODULATED",)),
    ("BeamType", ("STATIC",)),
    ("PrimaryDosimeterUnit", ("MU",)),
    # spots one by one; LINEAR is dose along the way between them. Absent before the attribute was defined.
    ("ModulatedScanModeType", ("STATIONARY", "LEAP", "")),
)
_DEVICES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("NumberOfWedges", ("IonWedgeSequence", "WedgeSequence"), "wedges"),
    ("NumberOfCompensators", ("IonRangeCompensatorSequence", "CompensatorSequence"), "compensators"),
    ("NumberOfBoli", ("ReferencedBolusSequence",), "boli"),
    ("NumberOfBlocks", ("IonBlockSequence", "BlockSequence"), "blocks"),
    ("NumberOfLateralSpreadingDevices", ("LateralSpreadingDeviceSequence",), "lateral spreading devices"),
    ("NumberOfRangeModulators", ("RangeModulatorSequence",), "range modulators"),
)
"""What would change the dose, by its number and by the sequences that describe it: either is enough to have it."""
_POINT_DEVICES = (
    ("IonWedgePositionSequence", "wedges"),
    ("LateralSpreadingDeviceSettingsSequence", "lateral spreading devices"),
    ("RangeModulatorSettingsSequence", "range modulators"),
    ("BeamLimitingDevicePositionSequence", "a collimator"),
)
_FLAT = (
    ("GantryPitchAngle", "the gantry's pitch"),
    ("TableTopPitchAngle", "the table top's pitch"),
    ("TableTopRollAngle", "the table top's roll"),
    ("TableTopEccentricAngle", "the table top's eccentric angle"),
)
_TURNING = ("GantryRotationDirection", "PatientSupportRotationDirection")
_TABLE = ("TableTopVerticalPosition", "TableTopLongitudinalPosition", "TableTopLateralPosition")


@dataclass(frozen=True)
class BeamReader:
    """One item of the Ion Beam Sequence."""

    item: Reader
    number: int
    name: str
    meterset_mu: float

    def read(self) -> IonBeam:
        self._check_kind()
        self._check_devices()
        points = children(self.item, "IonControlPointSequence")
        if not 2 <= len(points) <= MAX_CONTROL_POINTS:
            raise self._contradiction(f"has {len(points)} control points, expected 2 to {MAX_CONTROL_POINTS}")
        self._check_order(points)
        gantry, couch, isocenter = self._geometry(points)
        shifter = self._range_shifter(points)
        return IonBeam(self.number, self.name, gantry, couch, isocenter, self._layers(points), shifter)

    def source_distances_mm(self) -> tuple[float, float] | None:
        """Virtual Source-Axis Distances (x, y); None where the plan does not have them."""
        if self.item.value("VirtualSourceAxisDistances") is None:
            return None
        x_mm, y_mm = self.item.floats("VirtualSourceAxisDistances", 2)
        if not (0 < x_mm <= MAX_SOURCE_DISTANCE_MM and 0 < y_mm <= MAX_SOURCE_DISTANCE_MM):
            raise self._contradiction(
                f"has {tag_name('VirtualSourceAxisDistances')} {x_mm:g} and {y_mm:g} mm, expected more than 0 and at "
                f"most {MAX_SOURCE_DISTANCE_MM:g} mm"
            )
        return x_mm, y_mm

    def _check_kind(self) -> None:
        item = self.item
        for keyword, expected in _KIND:
            found = item.text(keyword)
            if found not in expected:
                raise self._unsupported(
                    f"has {tag_name(keyword)} {found[:24] or 'empty'!r}, expected {' or '.join(filter(None, expected))}"
                )
        if item.value("RadiationAtomicNumber") is not None and item.integer("RadiationAtomicNumber", 0, 200) != 1:
            raise self._contradiction(
                f"is of protons and has {tag_name('RadiationAtomicNumber')} {item.text('RadiationAtomicNumber')}"
            )

    def _check_devices(self) -> None:
        """Refuse what stands in the beam and is not computed, whether its number says so or only its sequence."""
        item = self.item
        for keyword, sequences, name in _DEVICES:
            count = 0 if item.value(keyword) is None else item.integer(keyword, 0, 1000)
            described = [s for s in sequences if item.items(s)]
            if described and not count:
                raise self._unsupported(
                    f"has {name}: its {tag_name(described[0])} has items, though {tag_name(keyword)} is "
                    f"{item.text(keyword) or 'empty'}; they are not computed"
                )
            if count:
                undescribed = "" if described else ", which no sequence describes and"
                raise self._unsupported(f"has {name} ({count}){undescribed or ', which'} are not computed")
        if item.items("ApplicatorSequence"):
            raise self._unsupported(f"has an applicator ({tag_name('ApplicatorSequence')}), which is not computed")

    def _check_order(self, points: Sequence[Reader]) -> None:
        """Refuse control points of another number or order than the plan says: which follows which is not known."""
        keyword = "NumberOfControlPoints"
        if self.item.value(keyword) is not None and self.item.integer(keyword, 0, 1_000_000) != len(points):
            raise self._contradiction(
                f"has {len(points)} control points, its {tag_name(keyword)} is {self.item.text(keyword)}"
            )
        for k, point in enumerate(points):
            if point.value("ControlPointIndex") is not None and point.integer("ControlPointIndex", 0, 1_000_000) != k:
                raise self._contradiction(
                    f"has {tag_name('ControlPointIndex')} {point.text('ControlPointIndex')} at control point {k}"
                )
            unit = point.text("NominalBeamEnergyUnit")
            if unit not in ("MEV", ""):
                raise self._unsupported(f"has {tag_name('NominalBeamEnergyUnit')} {unit[:16]!r}, expected MEV")
            for keyword, name in _POINT_DEVICES:
                if point.items(keyword):
                    raise self._unsupported(f"has {name} ({tag_name(keyword)}) at control point {k}: not computed")

    def _range_shifter(self, points: Sequence[Reader]) -> RangeShifter | None:
        """The slab in the beam; which slab of the machine that is, is not settled here.

        Raises
        ------
        InputRefusedError
            More than one, one that is not simply in or out, moves, or whose thickness or place is not given.
        """
        item, count = self.item, 0
        if item.value("NumberOfRangeShifters") is not None:
            count = item.integer("NumberOfRangeShifters", 0, 1000)
        shifters = children(item, "RangeShifterSequence")
        if max(count, len(shifters)) > 1:
            raise self._unsupported(f"has {max(count, len(shifters))} range shifters; one at most is computed")
        settings = [children(p, "RangeShifterSettingsSequence") for p in points]
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
                at_point = self._setting(setting, shifters[0])
                if k == 0:
                    found = at_point
                elif at_point != found:
                    raise self._unsupported("has a range shifter that moves between control points")
        if not settings[0]:
            raise self._unsupported("has a range shifter of which its first control point does not say where it is")
        return found

    def _setting(self, setting: Reader, shifter: Reader) -> RangeShifter | None:
        shifter_id = shifter.text("RangeShifterID")
        named, described = setting.text("ReferencedRangeShifterNumber"), shifter.text("RangeShifterNumber")
        if named and described and named != described:
            raise self._contradiction(f"sets range shifter {named[:12]}, and describes range shifter {described[:12]}")
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
        table = {k: first.floats(k, 1) for k in _TABLE if first.value(k) is not None}
        for point in points:
            for keyword, angle in (("GantryAngle", gantry), ("PatientSupportAngle", couch)):
                if (
                    point.value(keyword) is not None
                    and _turned(point.floats(keyword, 1)[0], angle) > ANGLE_TOLERANCE_DEG
                ):
                    raise self._moves(keyword)
            for keyword, place in {"IsocenterPosition": isocenter, **table}.items():
                if point.value(keyword) is None:
                    continue
                found = point.floats(keyword, len(place))
                if max(abs(a - b) for a, b in zip(found, place, strict=True)) > POSITION_TOLERANCE_MM:
                    raise self._moves(keyword)
            for keyword in _TURNING:
                if point.text(keyword) in ("CW", "CC"):
                    raise self._moves(keyword)
            for keyword, name in _FLAT:
                if point.value(keyword) is not None and _turned(point.floats(keyword, 1)[0], 0) > ANGLE_TOLERANCE_DEG:
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
            elif "NominalBeamEnergy" in point.dataset:  # absent it is as before; empty it is anything
                raise self._contradiction(f"has an empty {tag_name('NominalBeamEnergy')} at control point {k}")
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

    def _moves(self, keyword: str) -> InputRefusedError:
        return self._unsupported(f"moves while it shines: {tag_name(keyword)} changes between control points")

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
    """Scanning Spot Size (300A,0398): full width at half maximum in air at the isocenter, where the plan has it."""
    if point.value("ScanningSpotSize") is None:
        return None
    x_mm, y_mm = point.floats("ScanningSpotSize", 2)
    return (x_mm, y_mm) if 0 < x_mm <= MAX_SPOT_FWHM_MM and 0 < y_mm <= MAX_SPOT_FWHM_MM else None


def _turned(one_deg: float, other_deg: float) -> float:
    """The angle between two directions, which 359.99° and 0° have hardly any."""
    return abs((one_deg - other_deg + 180.0) % 360.0 - 180.0)


def unsupported(message: str, remedy: str) -> InputRefusedError:
    """The refusal of a plan that is right, but cannot be computed here."""
    return InputRefusedError(message, remedy=remedy, code=ErrorCode.UNSUPPORTED_PLAN)


def children(reader: Reader, keyword: str) -> list[Reader]:
    return [Reader(item, reader.what, reader.code) for item in reader.items(keyword)]

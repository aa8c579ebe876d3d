"""Reading one item of an Ion Beam Sequence: range shifters, layers and spots; plans are read in `ion_plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from radiarch_worker.ion import IonBeam, Layer, RangeShifter
from radiarch_worker.patient.attributes import Reader, tag_name
from radiarch_worker.patient.limits import MAX_COORDINATE_MM

from .beam_item import WEIGHT_TOLERANCE, BeamItem, Devices, Kinds, children

MAX_SPOTS = 500_000
MAX_SPOT_FWHM_MM = 100.0
MAX_SOURCE_DISTANCE_MM = 100_000.0
"""Beams that are scanned in parallel have their virtual source far away."""

_KIND: Kinds = (
    ("RadiationType", ("PROTON",)),
    ("ScanMode", ("MODULATED",)),
    ("BeamType", ("STATIC",)),
    ("PrimaryDosimeterUnit", ("MU",)),
    # spots one by one; LINEAR is dose along the way between them. Absent before the attribute was defined.
    ("ModulatedScanModeType", ("STATIONARY", "LEAP", "")),
)
_DEVICES: Devices = (
    ("NumberOfWedges", ("IonWedgeSequence", "WedgeSequence"), "wedges"),
    ("NumberOfCompensators", ("IonRangeCompensatorSequence", "CompensatorSequence"), "compensators"),
    ("NumberOfBoli", ("ReferencedBolusSequence",), "boli"),
    ("NumberOfBlocks", ("IonBlockSequence", "BlockSequence"), "blocks"),
    ("NumberOfLateralSpreadingDevices", ("LateralSpreadingDeviceSequence",), "lateral spreading devices"),
    ("NumberOfRangeModulators", ("RangeModulatorSequence",), "range modulators"),
)
_POINT_DEVICES = (
    ("IonWedgePositionSequence", "wedges"),
    ("LateralSpreadingDeviceSettingsSequence", "lateral spreading devices"),
    ("RangeModulatorSettingsSequence", "range modulators"),
    ("BeamLimitingDevicePositionSequence", "a collimator"),
)


@dataclass(frozen=True)
class IonBeamReader(BeamItem):
    """One item of the Ion Beam Sequence."""

    REMEDY: ClassVar[str] = "Recalculate plans of scanned proton beams without such devices."

    def read(self) -> IonBeam:
        self._check_kind()
        self.check_devices(_DEVICES)
        points = self.control_points("IonControlPointSequence")
        self._check_points(points)
        gantry = self.fixed_angle(points, "GantryAngle", "GantryRotationDirection")
        couch = self.fixed_angle(points, "PatientSupportAngle", "PatientSupportRotationDirection")
        isocenter = self.isocenter_mm(points)
        self.check_place(points)
        shifter = self._range_shifter(points)
        return IonBeam(self.number, self.name, gantry, couch, isocenter, self._layers(points), shifter)

    def source_distances_mm(self) -> tuple[float, float] | None:
        """Virtual Source-Axis Distances (x, y); None where the plan does not have them."""
        if self.item.value("VirtualSourceAxisDistances") is None:
            return None
        x_mm, y_mm = self.item.floats("VirtualSourceAxisDistances", 2)
        if not (0 < x_mm <= MAX_SOURCE_DISTANCE_MM and 0 < y_mm <= MAX_SOURCE_DISTANCE_MM):
            raise self.contradiction(
                f"has {tag_name('VirtualSourceAxisDistances')} {x_mm:g} and {y_mm:g} mm, expected more than 0 and at "
                f"most {MAX_SOURCE_DISTANCE_MM:g} mm"
            )
        return x_mm, y_mm

    def _check_kind(self) -> None:
        self.check_kind(_KIND)
        item = self.item
        if item.value("RadiationAtomicNumber") is not None and item.integer("RadiationAtomicNumber", 0, 200) != 1:
            raise self.contradiction(
                f"is of protons and has {tag_name('RadiationAtomicNumber')} {item.text('RadiationAtomicNumber')}"
            )

    def _check_points(self, points: Sequence[Reader]) -> None:
        for k, point in enumerate(points):
            unit = point.text("NominalBeamEnergyUnit")
            if unit not in ("MEV", ""):
                raise self.unsupported(f"has {tag_name('NominalBeamEnergyUnit')} {unit[:16]!r}, expected MEV")
            for keyword, name in _POINT_DEVICES:
                if point.items(keyword):
                    raise self.unsupported(f"has {name} ({tag_name(keyword)}) at control point {k}: not computed")

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
            raise self.unsupported(f"has {max(count, len(shifters))} range shifters; one at most is computed")
        settings = [children(p, "RangeShifterSettingsSequence") for p in points]
        if not shifters:
            if count or any(settings):
                raise self.contradiction("has range shifters that its Range Shifter Sequence does not describe")
            return None
        kind = shifters[0].text("RangeShifterType")
        if kind != "BINARY":
            raise self.unsupported(f"has a range shifter of type {kind[:16] or '(none)'!r}; only BINARY is computed")
        found: RangeShifter | None = None
        for k, settings_of_point in enumerate(settings):
            if len(settings_of_point) > 1:
                raise self.contradiction(f"has {len(settings_of_point)} range shifter settings at control point {k}")
            for setting in settings_of_point:
                at_point = self._setting(setting, shifters[0])
                if k == 0:
                    found = at_point
                elif at_point != found:
                    raise self.unsupported("has a range shifter that moves between control points")
        if not settings[0]:
            raise self.unsupported("has a range shifter of which its first control point does not say where it is")
        return found

    def _setting(self, setting: Reader, shifter: Reader) -> RangeShifter | None:
        shifter_id = shifter.text("RangeShifterID")
        named, described = setting.text("ReferencedRangeShifterNumber"), shifter.text("RangeShifterNumber")
        if named and described and named != described:
            raise self.contradiction(f"sets range shifter {named[:12]}, and describes range shifter {described[:12]}")
        where = setting.text("RangeShifterSetting")
        if where == "OUT":
            return None
        if where != "IN":
            raise self.unsupported(f"has a range shifter setting {where[:16]!r}; IN and OUT are computed")
        for keyword, name in (
            ("RangeShifterWaterEquivalentThickness", "water-equivalent thickness"),
            ("IsocenterToRangeShifterDistance", "distance from the isocenter"),
        ):
            if setting.value(keyword) is None:
                raise self.unsupported(f"has a range shifter {shifter_id[:16]!r} without {name}")
        (thickness_mm,) = setting.floats("RangeShifterWaterEquivalentThickness", 1)
        (distance_mm,) = setting.floats("IsocenterToRangeShifterDistance", 1)
        if not (0 < thickness_mm < MAX_COORDINATE_MM and abs(distance_mm) < MAX_COORDINATE_MM):
            raise self.contradiction(f"has a range shifter of {thickness_mm:g} mm at {distance_mm:g} mm")
        return RangeShifter(shifter_id[:16], thickness_mm, distance_mm)

    def _layers(self, points: Sequence[Reader]) -> tuple[Layer, ...]:
        cumulative, final = self.cumulative_weights(points)
        layers: list[Layer] = []
        energy: float | None = None
        for k, point in enumerate(points):
            if point.value("NominalBeamEnergy") is not None:
                (energy,) = point.floats("NominalBeamEnergy", 1)
            elif "NominalBeamEnergy" in point.dataset:  # absent it is as before; empty it is anything
                raise self.contradiction(f"has an empty {tag_name('NominalBeamEnergy')} at control point {k}")
            if energy is None or not 1 < energy < 1000:
                raise self.contradiction(f"has no energy in MeV at control point {k}")
            xy, weights = self._spots(point, k)
            step = (cumulative[k + 1] if k + 1 < len(points) else final) - cumulative[k]
            if abs(float(weights.sum()) - step) > WEIGHT_TOLERANCE * final:
                raise self.contradiction(
                    f"has spot weights that sum to {weights.sum():g} at control point {k}, where its cumulative weight "
                    f"rises by {step:g}"
                )
            kept = weights > 0
            if kept.any():
                mu = weights[kept] * (self.meterset_mu / final)
                layers.append(Layer(energy, xy[kept, 0], xy[kept, 1], mu, _spot_fwhm_mm(point)))
        total = float(sum(layer.meterset_mu.sum() for layer in layers))
        if not layers or abs(total - self.meterset_mu) > WEIGHT_TOLERANCE * self.meterset_mu:
            raise self.contradiction(f"has spots of {total:g} MU, its meterset is {self.meterset_mu:g} MU")
        return tuple(layers)

    def _spots(self, point: Reader, index: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        count = point.integer("NumberOfScanSpotPositions", 1, MAX_SPOTS)
        xy = np.array(point.floats("ScanSpotPositionMap", 2 * count)).reshape(-1, 2)
        weights = np.array(point.floats("ScanSpotMetersetWeights", count))
        if (weights < 0).any() or np.abs(xy).max() > 1000.0:
            raise self.contradiction(f"has negative weights or spots beyond 1 m at control point {index}")
        return xy, weights


def _spot_fwhm_mm(point: Reader) -> tuple[float, float] | None:
    """Scanning Spot Size (300A,0398): full width at half maximum in air at the isocenter, where the plan has it."""
    if point.value("ScanningSpotSize") is None:
        return None
    x_mm, y_mm = point.floats("ScanningSpotSize", 2)
    return (x_mm, y_mm) if 0 < x_mm <= MAX_SPOT_FWHM_MM and 0 < y_mm <= MAX_SPOT_FWHM_MM else None

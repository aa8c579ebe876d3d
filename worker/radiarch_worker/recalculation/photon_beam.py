"""Reading one item of a Beam Sequence: devices, apertures, arcs; plans are read in `photon_plan`.

DICOM PS3.3 C.8.8.14: a control point has what changes, everything else is as it was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from radiarch_worker.patient.attributes import Reader, tag_name
from radiarch_worker.photon import ControlPoint, FluenceMode, LeafPositions, Opening, PhotonBeam, Rotation

from .beam_item import WEIGHT_TOLERANCE, BeamItem, Devices, Kinds, children, turned

MAX_PAIRS = 200
MAX_POSITION_MM = 500.0
ENERGIES_MV = (1.0, 50.0)
STILL_DEG = 0.05
"""Less than this the gantry does not turn: some systems write where it was measured."""
CROSSED_MM = 0.011
"""By how much leaves and jaws may cross: positions are rounded to 0.01 mm."""
_OPEN_MM2 = 100.0
_POSITIONS = "BeamLimitingDevicePositionSequence"
_TYPE = "RTBeamLimitingDeviceType"

_KIND: Kinds = (
    ("RadiationType", ("PHOTON",)),
    ("BeamType", ("STATIC", "DYNAMIC")),
    ("PrimaryDosimeterUnit", ("MU",)),
)
_DEVICES: Devices = (
    ("NumberOfWedges", ("WedgeSequence",), "wedges"),
    ("NumberOfCompensators", ("CompensatorSequence",), "compensators"),
    ("NumberOfBoli", ("ReferencedBolusSequence",), "boli"),
    ("NumberOfBlocks", ("BlockSequence",), "blocks"),
)
_JAWS: Mapping[str, str] = {"X": "X", "ASYMX": "X", "Y": "Y", "ASYMY": "Y"}
"""Axis of jaws by their type; X and Y are of symmetric ones."""


@dataclass(frozen=True)
class _Devices:
    """What limits the beam.

    Attributes
    ----------
    jaws : DICOM's type by axis
    boundaries_mm : of the leaves (MLCX); None without a multileaf collimator
    """

    jaws: Mapping[str, str]
    boundaries_mm: npt.NDArray[np.float64] | None

    @property
    def sizes(self) -> dict[str, int]:
        """Positions of each device, by its type."""
        pairs = 0 if self.boundaries_mm is None else len(self.boundaries_mm) - 1
        return {**dict.fromkeys(self.jaws.values(), 2), **({"MLCX": 2 * pairs} if pairs else {})}


class PhotonBeamReader(BeamItem):
    """One item of the Beam Sequence."""

    REMEDY: ClassVar[str] = "Recalculate plans of photon beams that jaws and leaves in X alone shape."

    def read(self) -> PhotonBeam:
        self.check_kind(_KIND)
        self.check_devices(_DEVICES)
        devices = self._devices()
        points = self.control_points("ControlPointSequence")
        self._check_points(points)
        rotation, gantry = self._gantry(points)
        turning = ("BeamLimitingDeviceRotationDirection", "PatientSupportRotationDirection")
        collimator = self.fixed_angle(points, "BeamLimitingDeviceAngle", turning[0])
        couch = self.fixed_angle(points, "PatientSupportAngle", turning[1])
        isocenter = self.isocenter_mm(points)
        self.check_place(points)
        read = self._control_points(points, gantry, devices)
        beam = PhotonBeam(
            number=self.number,
            name=self.name,
            gantry_deg=gantry[0],
            couch_deg=couch,
            isocenter_mm=isocenter,
            collimator_deg=collimator,
            energy_mv=self._energy_mv(points),
            fluence=self._fluence(),
            rotation=rotation,
            control_points=read,
            leaf_boundaries_mm=devices.boundaries_mm,
        )
        self._check_turn(beam)
        self._check_openings(beam)
        return beam

    def source_axis_distance_mm(self) -> float | None:
        """Source-Axis Distance (300A,00B4); None where the plan does not have it."""
        if self.item.value("SourceAxisDistance") is None:
            return None
        (distance,) = self.item.floats("SourceAxisDistance", 1)
        if not 500 <= distance <= 2000:
            raise self.contradiction(f"has {tag_name('SourceAxisDistance')} {distance:g} mm, expected 500 to 2000")
        return distance

    def _devices(self) -> _Devices:
        jaws: dict[str, str] = {}
        boundaries: npt.NDArray[np.float64] | None = None
        for item in children(self.item, "BeamLimitingDeviceSequence"):
            kind = item.text(_TYPE)
            if kind in _JAWS:
                if _JAWS[kind] in jaws:
                    raise self.contradiction(f"has two pairs of jaws in {_JAWS[kind]}")
                jaws[_JAWS[kind]] = kind
            elif kind == "MLCX":
                if boundaries is not None:
                    raise self.unsupported("has two multileaf collimators in X; one is computed")
                boundaries = self._boundaries(item)
            else:
                raise self.unsupported(
                    f"has a beam limiting device of type {kind[:16] or '(none)'!r}; jaws and MLCX are computed"
                )
        if boundaries is None and set(jaws) != {"X", "Y"}:
            has = " and ".join(jaws.values()) or "none"
            raise self.contradiction(
                f"is not limited on both axes: of jaws and multileaf collimator its {tag_name(_LIMITING)} has {has}"
            )
        return _Devices(jaws, boundaries)

    def _boundaries(self, item: Reader) -> npt.NDArray[np.float64]:
        pairs = item.integer("NumberOfLeafJawPairs", 1, MAX_PAIRS)
        edges = np.array(item.floats("LeafPositionBoundaries", pairs + 1))
        if not (np.diff(edges) > 0).all() or np.abs(edges).max() > MAX_POSITION_MM:
            raise self.contradiction(f"has {tag_name('LeafPositionBoundaries')} that do not rise, or beyond 500 mm")
        return edges

    def _check_points(self, points: Sequence[Reader]) -> None:
        for k, point in enumerate(points):
            if point.items("WedgePositionSequence"):
                raise self.unsupported(f"has wedges ({tag_name('WedgePositionSequence')}) at control point {k}")

    def _energy_mv(self, points: Sequence[Reader]) -> float:
        (energy,) = points[0].floats("NominalBeamEnergy", 1)
        if not ENERGIES_MV[0] <= energy <= ENERGIES_MV[1]:
            raise self.contradiction(f"has a nominal energy of {energy:g}, expected 1 to 50 MV")
        for point in points[1:]:
            if point.value("NominalBeamEnergy") is not None and point.floats("NominalBeamEnergy", 1)[0] != energy:
                raise self.moves("NominalBeamEnergy")
        return energy

    def _fluence(self) -> FluenceMode:
        items = children(self.item, "PrimaryFluenceModeSequence")
        if len(items) > 1:
            raise self.contradiction(f"has {len(items)} primary fluence modes, expected one")
        if not items or items[0].text("FluenceMode") in ("STANDARD", ""):
            return FluenceMode.FLATTENED
        mode, name = items[0].text("FluenceMode"), items[0].text("FluenceModeID")
        if mode == "NON_STANDARD" and "FFF" in name.upper():
            return FluenceMode.UNFLATTENED
        raise self.unsupported(
            f"has fluence mode {mode[:16]!r} {name[:16]!r}; STANDARD and NON_STANDARD FFF are computed"
        )

    def _gantry(self, points: Sequence[Reader]) -> tuple[Rotation, list[float]]:
        """How the gantry turns, and its angle at each control point."""
        angles: list[float] = []
        directions: set[str] = set()
        direction = "NONE"
        for k, point in enumerate(points):
            if point.value("GantryAngle") is not None or k == 0:
                angles.append(point.floats("GantryAngle", 1)[0] % 360.0)
            else:
                angles.append(angles[-1])
            moved = k > 0 and turned(angles[k], angles[k - 1]) > STILL_DEG
            if moved and direction not in ("CW", "CC"):
                raise self.unsupported(
                    f"turns from {angles[k - 1]:g}° to {angles[k]:g}° at control point {k} without a direction: "
                    f"{tag_name('GantryRotationDirection')} is {direction[:16] or 'empty'!r}, expected CW or CC"
                )
            if moved:
                directions.add(direction)
            direction = point.text("GantryRotationDirection") or direction
        if direction in ("CW", "CC") and not directions:
            raise self.contradiction(f"turns {direction}, and its gantry stays at {angles[0]:g}°: whether by 0 or 360°")
        if len(directions) > 1:
            raise self.unsupported("turns clockwise and counter-clockwise; arcs of one direction are computed")
        if not directions:
            return Rotation.NONE, [angles[0]] * len(points)
        return (Rotation.CLOCKWISE if "CW" in directions else Rotation.COUNTER_CLOCKWISE), angles

    def _check_turn(self, beam: PhotonBeam) -> None:
        path = beam.gantry_path_deg
        if abs(path[-1] - path[0]) > 361.0:
            raise self.contradiction(
                f"turns by {abs(path[-1] - path[0]):.1f}°, expected no more than once about the patient: some control "
                "point goes against the arc's direction"
            )

    def _control_points(
        self, points: Sequence[Reader], gantry: Sequence[float], devices: _Devices
    ) -> tuple[ControlPoint, ...]:
        weights, final = self.cumulative_weights(points)
        if falls := [k for k in range(1, len(weights)) if weights[k] < weights[k - 1] - 1e-6 * final]:
            k = falls[0]
            raise self.contradiction(
                f"has cumulative meterset weights that fall, from {weights[k - 1]:g} to {weights[k]:g} at control "
                f"point {k}"
            )
        mu = np.maximum.accumulate(np.clip(np.array(weights), 0.0, final)) * (self.meterset_mu / final)
        mu[0], mu[-1] = 0.0, self.meterset_mu
        at: dict[str, npt.NDArray[np.float64]] = {}
        rate: float | None = None
        read = []
        for k, point in enumerate(points):
            at = {**at, **self._positions(point, k, devices.sizes)}
            if missing := [kind for kind in devices.sizes if kind not in at]:
                raise self.contradiction(f"has no position of {', '.join(missing)} at its first control point")
            if point.value("DoseRateSet") is not None:
                (rate,) = point.floats("DoseRateSet", 1)
            leaves, jaws = self._shape(at, devices, k)
            read.append(ControlPoint(gantry[k], float(mu[k]), leaves, jaws.get("X"), jaws.get("Y"), rate or None))
        return tuple(read)

    def _positions(self, point: Reader, index: int, sizes: Mapping[str, int]) -> dict[str, npt.NDArray[np.float64]]:
        found: dict[str, npt.NDArray[np.float64]] = {}
        for item in children(point, _POSITIONS):
            kind = item.text(_TYPE)
            if kind not in sizes:
                raise self.contradiction(
                    f"positions a device {kind[:16] or '(none)'!r} at control point {index} that its "
                    f"{tag_name(_LIMITING)} does not have"
                )
            if kind in found:
                raise self.contradiction(f"positions {kind} twice at control point {index}")
            found[kind] = np.array(item.floats("LeafJawPositions", sizes[kind]))
            if np.abs(found[kind]).max() > MAX_POSITION_MM:
                raise self.contradiction(f"has a position of {kind} beyond 500 mm at control point {index}")
        return found

    def _shape(
        self, at: Mapping[str, npt.NDArray[np.float64]], devices: _Devices, index: int
    ) -> tuple[LeafPositions | None, dict[str, Opening]]:
        jaws: dict[str, Opening] = {}
        for axis, kind in devices.jaws.items():
            low, high = (float(v) for v in at[kind])
            if high < low - CROSSED_MM:
                raise self.contradiction(
                    f"has jaws that are crossed at control point {index}: {kind} is {low:g}, {high:g} mm"
                )
            jaws[axis] = (low, max(low, high))
        if "MLCX" not in at:
            return None, jaws
        leaves = at["MLCX"].reshape(2, -1)
        crossed = np.flatnonzero(leaves[1] < leaves[0] - CROSSED_MM)
        if len(crossed):
            pair = int(crossed[0])
            raise self.contradiction(
                f"has leaves that are crossed at control point {index}: pair {pair + 1} is at {leaves[0, pair]:g}, "
                f"{leaves[1, pair]:g} mm"
            )
        return np.stack([leaves[0], np.maximum(leaves[0], leaves[1])]), jaws

    def _check_openings(self, beam: PhotonBeam) -> None:
        """Refuse MU through leaves that are open only where jaws are closed: one of the two is wrong."""
        for still in beam.exposures(gantry_step_deg=360.0, leaf_step_mm=1e4):
            between, within = _open_mm2(beam, still.point, False), _open_mm2(beam, still.point, True)
            if between > _OPEN_MM2 and within <= 0 and still.mu > WEIGHT_TOLERANCE * self.meterset_mu:
                raise self.contradiction(
                    f"gives {still.mu:.4g} MU after control point {still.index} through an aperture that lies outside "
                    f"its jaws: {between / 100:.3g} cm² are open between leaves, and none within the jaws"
                )


_LIMITING = "BeamLimitingDeviceSequence"


def _open_mm2(beam: PhotonBeam, point: ControlPoint, limited: bool) -> float:
    """Area between the leaves, at the isocenter plane; of it what jaws leave where ``limited``."""
    unlimited = (-np.inf, np.inf)
    x = (point.jaws_x_mm if limited else None) or unlimited
    y = (point.jaws_y_mm if limited else None) or unlimited
    if point.leaves_mm is None or beam.leaf_boundaries_mm is None:
        return max(0.0, x[1] - x[0]) * max(0.0, y[1] - y[0]) if limited else 0.0
    edges = np.clip(beam.leaf_boundaries_mm, *y)
    wide = np.clip(np.minimum(point.leaves_mm[1], x[1]) - np.maximum(point.leaves_mm[0], x[0]), 0.0, None)
    return float(np.diff(edges) @ wide)

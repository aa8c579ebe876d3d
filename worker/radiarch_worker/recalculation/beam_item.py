"""What items of every beam sequence have: kind, devices, order of control points, weights; no modality's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import Vector3
from radiarch_worker.patient.attributes import Reader, tag_name
from radiarch_worker.patient.limits import MAX_COORDINATE_MM

MAX_CONTROL_POINTS = 5_000
WEIGHT_TOLERANCE = 1e-3
"""Of a beam's meterset: by how much weights may differ from what they should sum to (all are rounded)."""
ANGLE_TOLERANCE_DEG = 0.01
POSITION_TOLERANCE_MM = 0.01
_FLAT = (
    ("GantryPitchAngle", "the gantry's pitch"),
    ("TableTopPitchAngle", "the table top's pitch"),
    ("TableTopRollAngle", "the table top's roll"),
    ("TableTopEccentricAngle", "the table top's eccentric angle"),
)
_TABLE = ("TableTopVerticalPosition", "TableTopLongitudinalPosition", "TableTopLateralPosition")

Kinds = Sequence[tuple[str, tuple[str, ...]]]
Devices = Sequence[tuple[str, tuple[str, ...], str]]
"""What would change the dose, by its number and by the sequences that describe it: either is enough to have it."""


@dataclass(frozen=True)
class BeamItem:
    """One item of a beam sequence; ``meterset_mu`` is of one fraction."""

    item: Reader
    number: int
    name: str
    meterset_mu: float
    REMEDY: ClassVar[str]

    def check_kind(self, kinds: Kinds) -> None:
        for keyword, expected in kinds:
            found = self.item.text(keyword)
            if found not in expected:
                raise self.unsupported(
                    f"has {tag_name(keyword)} {found[:24] or 'empty'!r}, expected {' or '.join(filter(None, expected))}"
                )

    def check_devices(self, devices: Devices) -> None:
        """Refuse what stands in the beam and is not computed, whether its number says so or only its sequence."""
        item = self.item
        for keyword, sequences, name in devices:
            count = 0 if item.value(keyword) is None else item.integer(keyword, 0, 1000)
            described = [s for s in sequences if item.items(s)]
            if described and not count:
                raise self.unsupported(
                    f"has {name}: its {tag_name(described[0])} has items, though {tag_name(keyword)} is "
                    f"{item.text(keyword) or 'empty'}; they are not computed"
                )
            if count:
                undescribed = "" if described else ", which no sequence describes and"
                raise self.unsupported(f"has {name} ({count}){undescribed or ', which'} are not computed")
        if item.items("ApplicatorSequence"):
            raise self.unsupported(f"has an applicator ({tag_name('ApplicatorSequence')}), which is not computed")

    def control_points(self, keyword: str) -> list[Reader]:
        """Control points in their order; refused where which follows which is not known."""
        points = children(self.item, keyword)
        if not 2 <= len(points) <= MAX_CONTROL_POINTS:
            raise self.contradiction(f"has {len(points)} control points, expected 2 to {MAX_CONTROL_POINTS}")
        count = "NumberOfControlPoints"
        if self.item.value(count) is not None and self.item.integer(count, 0, 1_000_000) != len(points):
            raise self.contradiction(
                f"has {len(points)} control points, its {tag_name(count)} is {self.item.text(count)}"
            )
        for k, point in enumerate(points):
            if point.value("ControlPointIndex") is not None and point.integer("ControlPointIndex", 0, 1_000_000) != k:
                raise self.contradiction(
                    f"has {tag_name('ControlPointIndex')} {point.text('ControlPointIndex')} at control point {k}"
                )
        return points

    def isocenter_mm(self, points: Sequence[Reader]) -> Vector3:
        """Where the first control point has it."""
        isocenter = points[0].floats("IsocenterPosition", 3)
        if max(abs(v) for v in isocenter) > MAX_COORDINATE_MM:
            raise points[0].error("IsocenterPosition", f"of beam {self.number} is beyond {MAX_COORDINATE_MM:g} mm")
        return (isocenter[0], isocenter[1], isocenter[2])

    def fixed_angle(self, points: Sequence[Reader], keyword: str, turning: str) -> float:
        """An angle that the first control point has, and that stays."""
        (angle,) = points[0].floats(keyword, 1)
        for point in points:
            if point.value(keyword) is not None and turned(point.floats(keyword, 1)[0], angle) > ANGLE_TOLERANCE_DEG:
                raise self.moves(keyword)
            if point.text(turning) in ("CW", "CC"):
                raise self.moves(turning)
        return angle % 360.0

    def check_place(self, points: Sequence[Reader]) -> None:
        """Refuse an isocenter or table that moves, and tables and gantries that are tilted."""
        places = ("IsocenterPosition", *_TABLE)
        sizes = {k: 3 if k == "IsocenterPosition" else 1 for k in places}
        fixed = {k: points[0].floats(k, sizes[k]) for k in places if points[0].value(k) is not None}
        for point in points:
            for keyword, place in fixed.items():
                if point.value(keyword) is None:
                    continue
                found = point.floats(keyword, len(place))
                if max(abs(a - b) for a, b in zip(found, place, strict=True)) > POSITION_TOLERANCE_MM:
                    raise self.moves(keyword)
            for keyword, name in _FLAT:
                if point.value(keyword) is not None and turned(point.floats(keyword, 1)[0], 0) > ANGLE_TOLERANCE_DEG:
                    raise self.unsupported(f"has {name} of {point.floats(keyword, 1)[0]:g}°, only 0 is computed")

    def cumulative_weights(self, points: Sequence[Reader]) -> tuple[list[float], float]:
        """Cumulative Meterset Weight of each control point, and the final one."""
        (final,) = self.item.floats("FinalCumulativeMetersetWeight", 1)
        if not final > 0:
            raise self.contradiction(f"has a final cumulative meterset weight of {final:g}")
        cumulative = [p.floats("CumulativeMetersetWeight", 1)[0] for p in points]
        if abs(cumulative[0]) > WEIGHT_TOLERANCE * final or abs(cumulative[-1] - final) > WEIGHT_TOLERANCE * final:
            raise self.contradiction(
                f"has cumulative meterset weights from {cumulative[0]:g} to {cumulative[-1]:g}, expected 0 to {final:g}"
            )
        return cumulative, final

    def moves(self, keyword: str) -> InputRefusedError:
        return self.unsupported(f"moves while it shines: {tag_name(keyword)} changes between control points")

    def unsupported(self, problem: str) -> InputRefusedError:
        return unsupported(f"beam {self.number} {problem}", self.REMEDY)

    def contradiction(self, problem: str) -> InputRefusedError:
        return InputRefusedError(
            f"{self.item.what.replace('The', 'the', 1)}'s beam {self.number} {problem}",
            remedy="Export the plan again.",
            code=ErrorCode.UNREADABLE_RTPLAN,
        )


def turned(one_deg: float, other_deg: float) -> float:
    """The angle between two directions, which 359.99° and 0° have hardly any."""
    return abs((one_deg - other_deg + 180.0) % 360.0 - 180.0)


def unsupported(message: str, remedy: str) -> InputRefusedError:
    """The refusal of a plan that is right, but cannot be computed here."""
    return InputRefusedError(message, remedy=remedy, code=ErrorCode.UNSUPPORTED_PLAN)


def children(reader: Reader, keyword: str) -> list[Reader]:
    return [Reader(item, reader.what, reader.code) for item in reader.items(keyword)]

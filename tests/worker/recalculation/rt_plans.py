"""RT Plans as other systems write them, made with pydicom alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import RTPlanStorage

Leaves = npt.NDArray[np.float64]
MILLENNIUM = (
    [-200.0 + 10 * i for i in range(10)] + [-100.0 + 5 * i for i in range(41)] + [110.0 + 10 * i for i in range(10)]
)
HD120 = [-110.0 + 5 * i for i in range(14)] + [-40.0 + 2.5 * i for i in range(33)] + [45.0 + 5 * i for i in range(14)]
AGILITY = [-200.0 + 5 * i for i in range(81)]
FRAME, PLAN_UID = "1.2.826.0.1.3680043.9.1", "1.2.826.0.1.3680043.9.2"


def square(boundaries: Sequence[float], half_mm: float = 50.0) -> Leaves:
    """(2, pairs) leaves of a square field, closed elsewhere."""
    y = np.array(boundaries)
    inside = (y[1:] > -half_mm) & (y[:-1] < half_mm)
    return np.where(inside, [[-half_mm], [half_mm]], 0.0)


@dataclass
class Point:
    """A control point; None is what it does not say."""

    weight: float
    gantry: float | None = None
    direction: str | None = None
    mlc: Leaves | None = None
    x: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    rate: float | None = None


@dataclass
class Beam:
    points: list[Point]
    number: int = 1
    meterset: float | None = 100.0
    kind: str = "DYNAMIC"
    jaws: tuple[str, ...] = ("ASYMX", "ASYMY")
    boundaries: Sequence[float] | None = field(default_factory=lambda: MILLENNIUM)
    energy: float = 6.0
    fluence: tuple[str, str] | None = ("STANDARD", "")
    collimator: float = 0.0
    couch: float = 0.0
    final: float = 1.0


def item(**values: object) -> Dataset:
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def plan(*beams: Beam, fractions: int = 30, position: str = "HFS") -> Dataset:
    group = item(FractionGroupNumber=1, NumberOfFractionsPlanned=fractions, NumberOfBeams=len(beams))
    group.NumberOfBrachyApplicationSetups = 0
    group.ReferencedBeamSequence = [_referenced(b) for b in beams]
    ds = item(
        SOPClassUID=RTPlanStorage,
        SOPInstanceUID=PLAN_UID,
        Modality="RTPLAN",
        Manufacturer="Another",
        RTPlanLabel="plan",
        RTPlanGeometry="PATIENT",
        FrameOfReferenceUID=FRAME,
        FractionGroupSequence=[group],
        BeamSequence=[_beam(b) for b in beams],
        PatientSetupSequence=[item(PatientPosition=position, PatientSetupNumber=1)],
    )
    return ds


def _referenced(beam: Beam) -> Dataset:
    ds = item(ReferencedBeamNumber=beam.number)
    if beam.meterset is not None:
        ds.BeamMeterset = beam.meterset
    return ds


def _beam(beam: Beam) -> Dataset:
    limiting = [item(RTBeamLimitingDeviceType=kind, NumberOfLeafJawPairs=1) for kind in beam.jaws]
    if beam.boundaries is not None:
        pairs = len(beam.boundaries) - 1
        mlc = item(RTBeamLimitingDeviceType="MLCX", NumberOfLeafJawPairs=pairs)
        mlc.LeafPositionBoundaries = list(beam.boundaries)
        limiting.append(mlc)
    ds = item(
        BeamNumber=beam.number,
        BeamName=f"Field {beam.number}",
        BeamType=beam.kind,
        RadiationType="PHOTON",
        TreatmentMachineName="LINAC1",
        TreatmentDeliveryType="TREATMENT",
        PrimaryDosimeterUnit="MU",
        SourceAxisDistance=1000,
        NumberOfWedges=0,
        NumberOfCompensators=0,
        NumberOfBoli=0,
        NumberOfBlocks=0,
        FinalCumulativeMetersetWeight=beam.final,
        NumberOfControlPoints=len(beam.points),
        BeamLimitingDeviceSequence=limiting,
        ReferencedPatientSetupNumber=1,
        ControlPointSequence=[_point(beam, k, p) for k, p in enumerate(beam.points)],
    )
    if beam.fluence is not None:
        mode = item(FluenceMode=beam.fluence[0])
        if beam.fluence[1]:
            mode.FluenceModeID = beam.fluence[1]
        ds.PrimaryFluenceModeSequence = [mode]
    return ds


def _point(beam: Beam, index: int, point: Point) -> Dataset:
    ds = item(ControlPointIndex=index, CumulativeMetersetWeight=point.weight)
    if index == 0:
        ds.NominalBeamEnergy = beam.energy
        ds.BeamLimitingDeviceAngle, ds.BeamLimitingDeviceRotationDirection = beam.collimator, "NONE"
        ds.PatientSupportAngle, ds.PatientSupportRotationDirection = beam.couch, "NONE"
        ds.IsocenterPosition = [1.0, 2.0, 3.0]
    if point.gantry is not None:
        ds.GantryAngle = point.gantry
    if point.direction is not None:
        ds.GantryRotationDirection = point.direction
    if point.rate is not None:
        ds.DoseRateSet = point.rate
    axes = {"X": "x", "ASYMX": "x", "Y": "y", "ASYMY": "y"}
    positions = [
        item(RTBeamLimitingDeviceType=kind, LeafJawPositions=list(found))
        for kind in beam.jaws
        if (found := getattr(point, axes[kind])) is not None
    ]
    if point.mlc is not None:
        positions.append(item(RTBeamLimitingDeviceType="MLCX", LeafJawPositions=point.mlc.ravel().tolist()))
    if positions:
        ds.BeamLimitingDevicePositionSequence = positions
    return ds


def static(**changes: object) -> Beam:
    """A square field of 100 mm."""
    first = Point(0.0, 0.0, "NONE", square(MILLENNIUM), (-50.0, 50.0), (-50.0, 50.0), 600.0)
    return _changed(Beam([first, Point(1.0)], kind="STATIC"), changes)


def step_and_shoot(**changes: object) -> Beam:
    """Two apertures of 40 and 60 MU."""
    narrow = square(MILLENNIUM, 20.0)
    first = Point(0.0, 30.0, "NONE", square(MILLENNIUM), (-50.0, 50.0), (-50.0, 50.0), 600.0)
    return _changed(Beam([first, Point(0.4), Point(0.4, mlc=narrow), Point(1.0)]), changes)


def sliding_window(**changes: object) -> Beam:
    """Leaves 20 mm apart that go from one side to the other while it shines."""
    x = [np.where(square(MILLENNIUM)[1:] > 0, [[at - 10], [at + 10]], 0.0) for at in (-40.0, 0.0, 40.0)]
    first = Point(0.0, 0.0, "NONE", x[0], (-50.0, 50.0), (-50.0, 50.0), 600.0)
    return _changed(Beam([first, Point(0.5, mlc=x[1]), Point(1.0, mlc=x[2])]), changes)


def arc(**changes: object) -> Beam:
    """A whole turn clockwise, 4 control points, as Varian systems write it."""
    half = (60.0, 50.0, 40.0, 30.0)
    points = [
        Point(w, g, d, square(MILLENNIUM, h), None, None)
        for w, g, d, h in zip(
            (0, 0.3, 0.7, 1.0), (180.1, 300.0, 60.0, 179.9), ("CW", "CW", "CW", "NONE"), half, strict=True
        )
    ]
    points[0].x = points[0].y = (-60.0, 60.0)
    points[0].rate = 600.0
    return _changed(Beam(points, meterset=450.0, collimator=30.0), changes)


def elekta_arc(**changes: object) -> Beam:
    """Leaves and jaws in Y alone, which move too; the rotation goes the other way; leaves are never closed."""
    points = []
    for w, g, d, h in ((0.0, 179.0, "CC", 50.0), (40.0, 0.0, "CC", 40.0), (100.0, 181.0, "NONE", 30.0)):
        leaves = square(AGILITY, h) + np.where(square(AGILITY, h)[1:] > 0, 0.0, [[-2.5], [2.5]])
        points.append(Point(w, g, d, leaves, None, (-h, h)))
    beam = Beam(points, meterset=300.0, jaws=("ASYMY",), boundaries=AGILITY, final=100.0, fluence=None)
    return _changed(beam, changes)


def _changed(beam: Beam, changes: dict[str, object]) -> Beam:
    for name, value in changes.items():
        assert hasattr(beam, name)
        setattr(beam, name, value)
    return beam

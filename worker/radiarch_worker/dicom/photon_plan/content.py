"""Items of an RT Plan of photons: beams, devices and control points; the object itself lives in `sop`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from radiarch_worker.dicom.base import invalid_result
from radiarch_worker.dicom.enum import (
    BeamTypeValues,
    FluenceModeValues,
    PrimaryDosimeterUnitValues,
    RadiationTypeValues,
    RotationDirectionValues,
    RTBeamLimitingDeviceTypeValues,
    TreatmentDeliveryTypeValues,
)
from radiarch_worker.dicom.treatment_plan import PATIENT_SETUP_NUMBER, add_patient_place
from radiarch_worker.dicom.valuerep import decimal_string, decimal_strings, text
from radiarch_worker.photon import ControlPoint, FluenceMode, Linac, PhotonBeam, Rotation

_DIRECTION: Mapping[Rotation, RotationDirectionValues] = {
    Rotation.NONE: RotationDirectionValues.NONE,
    Rotation.CLOCKWISE: RotationDirectionValues.CLOCKWISE,
    Rotation.COUNTER_CLOCKWISE: RotationDirectionValues.COUNTER_CLOCKWISE,
}
_Positions = dict[RTBeamLimitingDeviceTypeValues, tuple[float, ...]]
"""Of each device, as Leaf/Jaw Positions has them: all of the negative side, then all of the other."""


def checked_beam(beam: PhotonBeam) -> PhotonBeam:
    """The beam, where it can be delivered.

    Raises
    ------
    EngineError
        (engine_output_invalid) for what no machine can do: see the messages.
    """
    points = beam.control_points
    if len(points) < 2:
        raise _invalid(beam, f"has {len(points)} control points, expected at least 2")
    geometry = [beam.couch_deg, beam.collimator_deg, *beam.isocenter_mm, *(p.gantry_deg for p in points)]
    mu = np.array([p.cumulative_mu for p in points])
    if not (np.isfinite(geometry).all() and np.isfinite(mu).all()):
        raise _invalid(beam, "has angles, an isocenter or MU that are no finite numbers")
    if mu[0] != 0 or (np.diff(mu) < 0).any() or not mu[-1] > 0:
        raise _invalid(beam, f"has cumulative MU from {mu[0]:g} to {mu[-1]:g} that begin above 0, fall or end at 0")
    moves = len({p.gantry_deg for p in points}) > 1
    if moves != (beam.rotation is not Rotation.NONE):
        raise _invalid(beam, f"has rotation {beam.rotation.value!r} and {'a moving' if moves else 'a still'} gantry")
    if not beam.energy_mv > 0:
        raise _invalid(beam, f"has an energy of {beam.energy_mv:g} MV")
    devices = set(_positions(points[0]))
    for k, point in enumerate(points):
        _check_shape(beam, k, point)
        if set(_positions(point)) != devices:
            raise _invalid(beam, f"has other devices at control point {k} than at the first")
    return beam


def _check_shape(beam: PhotonBeam, index: int, point: ControlPoint) -> None:
    pairs = 0 if beam.leaf_boundaries_mm is None else len(beam.leaf_boundaries_mm) - 1
    found = None if point.leaves_mm is None else point.leaves_mm.shape
    if found != ((2, pairs) if pairs else None):
        raise _invalid(beam, f"has leaves of shape {found} at control point {index}, and {pairs} pairs")
    for name, positions in _positions(point).items():
        low, high = np.reshape(positions, (2, -1))
        if not (np.isfinite(positions).all() and (low <= high).all()):
            raise _invalid(beam, f"has {name} that are crossed, or no finite numbers, at control point {index}")
    if not pairs and (point.jaws_x_mm is None or point.jaws_y_mm is None):
        raise _invalid(beam, f"has neither leaves nor two pairs of jaws at control point {index}")


def meterset(beam: PhotonBeam) -> DSfloat:
    """MU of one fraction."""
    return decimal_string(beam.meterset_mu)


def beam_item(beam: PhotonBeam, machine: Linac, description: str) -> Dataset:
    """Item of the Beam Sequence (PS3.3 C.8.8.14)."""
    first, *others = beam.control_points
    is_static = all(_changed(first, p) == {} and p.gantry_deg == first.gantry_deg for p in others)
    item = Dataset()
    item.TreatmentMachineName = text(machine.name, 16)
    item.ManufacturerModelName = text(machine.name, 64)
    item.PrimaryDosimeterUnit = PrimaryDosimeterUnitValues.MU.value
    item.SourceAxisDistance = decimal_string(machine.source_axis_distance_mm)
    item.BeamLimitingDeviceSequence = _devices(beam)
    item.BeamNumber = beam.number
    item.BeamName = text(beam.name, 64) or f"Beam {beam.number}"
    item.BeamDescription = text(description, 1024)
    item.BeamType = (BeamTypeValues.STATIC if is_static else BeamTypeValues.DYNAMIC).value
    item.RadiationType = RadiationTypeValues.PHOTON.value
    item.PrimaryFluenceModeSequence = [_fluence_item(beam.fluence)]
    item.TreatmentDeliveryType = TreatmentDeliveryTypeValues.TREATMENT.value
    item.NumberOfWedges = 0
    item.NumberOfCompensators = 0
    item.NumberOfBoli = 0
    item.NumberOfBlocks = 0
    item.FinalCumulativeMetersetWeight = meterset(beam)
    item.NumberOfControlPoints = len(beam.control_points)
    item.ControlPointSequence = _control_points(beam)
    item.ReferencedPatientSetupNumber = PATIENT_SETUP_NUMBER
    return item


def _devices(beam: PhotonBeam) -> list[Dataset]:
    items = []
    for kind, positions in _positions(beam.control_points[0]).items():
        item = Dataset()
        item.RTBeamLimitingDeviceType = kind.value
        item.NumberOfLeafJawPairs = len(positions) // 2
        if kind is RTBeamLimitingDeviceTypeValues.MLCX:
            assert beam.leaf_boundaries_mm is not None
            item.LeafPositionBoundaries = decimal_strings(beam.leaf_boundaries_mm)
        items.append(item)
    return items


def _fluence_item(fluence: FluenceMode) -> Dataset:
    item = Dataset()
    if fluence is FluenceMode.FLATTENED:
        item.FluenceMode = FluenceModeValues.STANDARD.value
    else:
        item.FluenceMode = FluenceModeValues.NON_STANDARD.value
        item.FluenceModeID = "FFF"
    return item


def _control_points(beam: PhotonBeam) -> list[Dataset]:
    # The first has everything, later ones what changes (PS3.3 C.8.8.14.5).
    items: list[Dataset] = []
    before: ControlPoint | None = None
    last = len(beam.control_points) - 1
    for index, point in enumerate(beam.control_points):
        item = Dataset()
        item.ControlPointIndex = index
        item.CumulativeMetersetWeight = decimal_string(point.cumulative_mu)
        if before is None:
            _add_fixed_geometry(item, beam)
        if point.dose_rate_mu_min is not None and (before is None or point.dose_rate_mu_min != before.dose_rate_mu_min):
            item.DoseRateSet = decimal_string(point.dose_rate_mu_min)
        if before is None or beam.rotation is not Rotation.NONE:
            item.GantryAngle = decimal_string(point.gantry_deg)
            direction = RotationDirectionValues.NONE if index == last else _DIRECTION[beam.rotation]
            item.GantryRotationDirection = direction.value
        changed = _positions(point) if before is None else _changed(before, point)
        if changed:
            item.BeamLimitingDevicePositionSequence = [_position_item(*device) for device in changed.items()]
        items.append(item)
        before = point
    return items


def _add_fixed_geometry(item: Dataset, beam: PhotonBeam) -> None:
    still = RotationDirectionValues.NONE.value
    item.NominalBeamEnergy = decimal_string(beam.energy_mv)
    item.BeamLimitingDeviceAngle = decimal_string(beam.collimator_deg)
    item.BeamLimitingDeviceRotationDirection = still
    item.TableTopEccentricAngle = decimal_string(0)
    item.TableTopEccentricRotationDirection = still
    add_patient_place(item, beam)


def _positions(point: ControlPoint) -> _Positions:
    found: _Positions = {}
    if point.jaws_x_mm is not None:
        found[RTBeamLimitingDeviceTypeValues.ASYMX] = point.jaws_x_mm
    if point.jaws_y_mm is not None:
        found[RTBeamLimitingDeviceTypeValues.ASYMY] = point.jaws_y_mm
    if point.leaves_mm is not None:
        found[RTBeamLimitingDeviceTypeValues.MLCX] = tuple(point.leaves_mm.ravel().tolist())
    return found


def _changed(before: ControlPoint, point: ControlPoint) -> _Positions:
    was = _positions(before)
    return {kind: positions for kind, positions in _positions(point).items() if positions != was.get(kind)}


def _position_item(kind: RTBeamLimitingDeviceTypeValues, positions: tuple[float, ...]) -> Dataset:
    item = Dataset()
    item.RTBeamLimitingDeviceType = kind.value
    item.LeafJawPositions = decimal_strings(positions)
    return item


def _invalid(beam: PhotonBeam, problem: str) -> Exception:
    return invalid_result(f"beam {beam.number} {problem}", beam=beam.number)

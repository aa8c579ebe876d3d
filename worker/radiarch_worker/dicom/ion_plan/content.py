"""Items of an RT Ion Plan: beams and control points; the object itself lives in `sop`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from radiarch_worker.dicom.base import invalid_result
from radiarch_worker.dicom.enum import (
    BeamTypeValues,
    ModulatedScanModeTypeValues,
    PatientSupportTypeValues,
    PrimaryDosimeterUnitValues,
    RadiationTypeValues,
    RangeShifterSettingValues,
    RangeShifterTypeValues,
    RotationDirectionValues,
    ScanModeValues,
    TreatmentDeliveryTypeValues,
)
from radiarch_worker.dicom.treatment_plan import PATIENT_SETUP_NUMBER, add_patient_place
from radiarch_worker.dicom.valuerep import decimal_string, decimal_strings, text
from radiarch_worker.ion import IonBeam, IonMachine, Layer, RangeShifter

RANGE_SHIFTER_NUMBER = 1
_TUNE_ID = "BDL"  # type 1C for scanned beams; the beam data library knows one tune an energy

_Float32s = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EncodedLayer:
    """A layer as DICOM's FL can hold it.

    Attributes
    ----------
    position_map_mm : (2 n,) float32, x and y interleaved, IEC gantry system at the isocenter plane
    meterset_mu : (n,) float32, for one fraction
    """

    energy_mev: float
    position_map_mm: _Float32s
    meterset_mu: _Float32s
    spot_fwhm_mm: tuple[float, float] | None

    @property
    def total_mu(self) -> float:
        return float(self.meterset_mu.sum(dtype=np.float64))


@dataclass(frozen=True)
class EncodedBeam:
    """A beam whose metersets add up as written: cumulative sums are of the float32 weights.

    Attributes
    ----------
    cumulative_mu : one value a layer boundary, ``len(layers) + 1``, the first 0, the last the beam meterset
    """

    beam: IonBeam
    layers: tuple[EncodedLayer, ...]
    cumulative_mu: tuple[DSfloat, ...]

    @property
    def meterset_mu(self) -> DSfloat:
        return self.cumulative_mu[-1]


def encode_beam(beam: IonBeam) -> EncodedBeam:
    """Round spots to float32; refuse what cannot be delivered.

    Raises
    ------
    EngineError
        (engine_output_invalid) for non-finite positions, MU that are not positive, or layers without spots.
    """
    if not beam.layers:
        raise invalid_result(f"beam {beam.number} has no energy layers, expected at least one", beam=beam.number)
    for name, values in (
        ("gantry angle", (beam.gantry_deg,)),
        ("couch angle", (beam.couch_deg,)),
        ("isocenter", beam.isocenter_mm),
    ):
        if not np.isfinite(values).all():
            raise invalid_result(f"beam {beam.number}: {name} is {values}, expected finite numbers", beam=beam.number)
    layers = tuple(_encode_layer(beam.number, i, layer) for i, layer in enumerate(beam.layers))
    sums = np.concatenate([[0.0], np.cumsum([layer.total_mu for layer in layers])])
    return EncodedBeam(beam, layers, tuple(decimal_strings(sums)))


def _encode_layer(beam_number: int, index: int, layer: Layer) -> EncodedLayer:
    where = f"beam {beam_number}, layer {index + 1} ({layer.energy_mev:g} MeV)"
    details = {"beam": beam_number, "layer": index}
    n = len(layer.meterset_mu)
    if n == 0 or layer.x_mm.shape != (n,) or layer.y_mm.shape != (n,) or layer.meterset_mu.shape != (n,):
        shapes = layer.x_mm.shape, layer.y_mm.shape, layer.meterset_mu.shape
        raise invalid_result(f"{where}: x, y and MU have shapes {shapes}, expected one length above 0", **details)
    if not (np.isfinite(layer.energy_mev) and layer.energy_mev > 0):
        raise invalid_result(f"{where}: expected a positive energy", **details)
    if not (np.isfinite(layer.x_mm).all() and np.isfinite(layer.y_mm).all()):
        raise invalid_result(f"{where}: a spot position is not a finite number", **details)
    with np.errstate(over="ignore", under="ignore"):
        meterset = layer.meterset_mu.astype(np.float32)
    if not (np.isfinite(meterset).all() and (meterset > 0).all()):
        worst = float(np.min(layer.meterset_mu))
        raise invalid_result(f"{where}: every spot needs a positive finite MU, the minimum is {worst:g}", **details)
    positions = np.stack([layer.x_mm, layer.y_mm], axis=1).astype(np.float32).ravel()
    return EncodedLayer(layer.energy_mev, positions, meterset, layer.spot_fwhm_mm)


def beam_item(encoded: EncodedBeam, machine: IonMachine, description: str) -> Dataset:
    """Item of the Ion Beam Sequence (PS3.3 C.8.8.25)."""
    beam = encoded.beam
    item = Dataset()
    item.TreatmentMachineName = text(machine.name, 16)
    item.ManufacturerModelName = text(machine.name, 64)
    item.PrimaryDosimeterUnit = PrimaryDosimeterUnitValues.MU.value
    item.BeamNumber = beam.number
    item.BeamName = text(beam.name, 64) or f"Beam {beam.number}"
    item.BeamDescription = text(description, 1024)
    item.BeamType = BeamTypeValues.STATIC.value
    item.RadiationType = RadiationTypeValues.PROTON.value
    item.TreatmentDeliveryType = TreatmentDeliveryTypeValues.TREATMENT.value
    item.NumberOfWedges = 0
    item.NumberOfCompensators = 0
    item.NumberOfBoli = 0
    item.NumberOfBlocks = 0
    item.FinalCumulativeMetersetWeight = encoded.meterset_mu
    item.NumberOfControlPoints = 2 * len(encoded.layers)
    item.ScanMode = ScanModeValues.MODULATED.value
    item.ModulatedScanModeType = ModulatedScanModeTypeValues.STATIONARY.value
    item.VirtualSourceAxisDistances = [float(v) for v in machine.virtual_source_axis_distance_mm]
    item.NumberOfRangeShifters = 0 if beam.range_shifter is None else 1
    if beam.range_shifter is not None:
        item.RangeShifterSequence = [_range_shifter_item(beam.range_shifter)]
    item.NumberOfLateralSpreadingDevices = 0
    item.NumberOfRangeModulators = 0
    item.PatientSupportType = PatientSupportTypeValues.TABLE.value
    item.IonControlPointSequence = _control_points(encoded, machine)
    item.ReferencedPatientSetupNumber = PATIENT_SETUP_NUMBER
    return item


def _control_points(encoded: EncodedBeam, machine: IonMachine) -> list[Dataset]:
    # Two a layer (PS3.3 C.8.8.25.7): the first holds the spots that are delivered on the way to the
    # second, which repeats the map with zero weights.
    points: list[Dataset] = []
    for layer, (before, after) in zip(encoded.layers, pairwise(encoded.cumulative_mu), strict=True):
        for cumulative, weights in ((before, layer.meterset_mu), (after, np.zeros_like(layer.meterset_mu))):
            points.append(_control_point(len(points), layer, cumulative, weights))
    _add_fixed_geometry(points[0], encoded.beam, machine)
    if encoded.beam.range_shifter is not None:
        points[0].RangeShifterSettingsSequence = [_range_shifter_settings(encoded.beam.range_shifter)]
    return points


def _range_shifter_item(shifter: RangeShifter) -> Dataset:
    """Item of the Range Shifter Sequence (PS3.3 C.8.8.25)."""
    item = Dataset()
    item.RangeShifterNumber = RANGE_SHIFTER_NUMBER
    item.RangeShifterID = text(shifter.id, 16)
    item.RangeShifterType = RangeShifterTypeValues.BINARY.value
    return item


def _range_shifter_settings(shifter: RangeShifter) -> Dataset:
    """Item of the Range Shifter Settings Sequence: in the beam from the first control point on."""
    item = Dataset()
    item.ReferencedRangeShifterNumber = RANGE_SHIFTER_NUMBER
    item.RangeShifterSetting = RangeShifterSettingValues.IN.value
    item.IsocenterToRangeShifterDistance = float(shifter.isocenter_distance_mm)
    item.RangeShifterWaterEquivalentThickness = float(shifter.water_equivalent_mm)
    return item


def _control_point(index: int, layer: EncodedLayer, cumulative_mu: DSfloat, weights_mu: _Float32s) -> Dataset:
    point = Dataset()
    point.ControlPointIndex = index
    point.NominalBeamEnergy = decimal_string(layer.energy_mev)
    point.CumulativeMetersetWeight = cumulative_mu
    point.ScanSpotTuneID = _TUNE_ID
    point.NumberOfScanSpotPositions = len(weights_mu)
    point.ScanSpotPositionMap = layer.position_map_mm.tolist()
    point.ScanSpotMetersetWeights = weights_mu.tolist()
    if layer.spot_fwhm_mm is not None:
        point.ScanningSpotSize = [float(v) for v in layer.spot_fwhm_mm]
    point.NumberOfPaintings = 1
    return point


def _add_fixed_geometry(point: Dataset, beam: IonBeam, machine: IonMachine) -> None:
    still = RotationDirectionValues.NONE.value
    point.GantryAngle = decimal_string(beam.gantry_deg)
    point.GantryRotationDirection = still
    point.BeamLimitingDeviceAngle = decimal_string(0)
    point.BeamLimitingDeviceRotationDirection = still
    add_patient_place(point, beam)
    point.SnoutPosition = float(machine.snout_position_mm)

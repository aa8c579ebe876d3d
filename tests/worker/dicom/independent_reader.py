"""Reads an RT Ion Plan as a treatment machine would; shares no code with the writer, only pydicom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom


@dataclass(frozen=True)
class ReadLayer:
    """Spots of one energy: IEC gantry coordinates at the isocenter, mm; MU for one fraction."""

    energy_mev: float
    x_mm: npt.NDArray[np.float64]
    y_mm: npt.NDArray[np.float64]
    meterset_mu: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReadBeam:
    number: int
    name: str
    gantry_deg: float
    couch_deg: float
    isocenter_mm: tuple[float, float, float]
    layers: tuple[ReadLayer, ...]

    @property
    def total_mu(self) -> float:
        return float(sum(layer.meterset_mu.sum() for layer in self.layers))


@dataclass(frozen=True)
class ReadPlan:
    fractions: int
    beams: tuple[ReadBeam, ...]


def read_ion_plan(source: Path | str | pydicom.Dataset) -> ReadPlan:
    """Beams, layers and spots of an RT Ion Plan, checked for consistency.

    Raises
    ------
    ValueError
        Where spot weights, cumulative weights and metersets contradict each other.
    """
    ds = source if isinstance(source, pydicom.Dataset) else pydicom.dcmread(source)
    group = ds.FractionGroupSequence[0]
    metersets = {int(r.ReferencedBeamNumber): float(r.BeamMeterset) for r in group.ReferencedBeamSequence}
    beams = tuple(_beam(item, metersets[int(item.BeamNumber)]) for item in ds.IonBeamSequence)
    if len(beams) != int(group.NumberOfBeams):
        raise ValueError(f"{len(beams)} beams, NumberOfBeams says {group.NumberOfBeams}")
    return ReadPlan(int(group.NumberOfFractionsPlanned), beams)


def _beam(item: pydicom.Dataset, beam_meterset_mu: float) -> ReadBeam:
    points = item.IonControlPointSequence
    if len(points) != int(item.NumberOfControlPoints):
        raise ValueError(f"{len(points)} control points, NumberOfControlPoints says {item.NumberOfControlPoints}")
    final = float(item.FinalCumulativeMetersetWeight)
    if abs(float(points[-1].CumulativeMetersetWeight) - final) > 1e-6 * final:
        raise ValueError("the last cumulative weight is not the final one")
    mu_per_weight = beam_meterset_mu / final
    layers = []
    energy = None
    for k, point in enumerate(points):
        if int(point.ControlPointIndex) != k:
            raise ValueError(f"control point {k} has index {point.ControlPointIndex}")
        energy = float(point.NominalBeamEnergy) if "NominalBeamEnergy" in point else energy
        if energy is None:
            raise ValueError("no energy at the first control point")
        weights = np.atleast_1d(np.array(point.ScanSpotMetersetWeights, dtype=np.float64))
        following = float(points[k + 1].CumulativeMetersetWeight) if k + 1 < len(points) else final
        if abs(following - float(point.CumulativeMetersetWeight) - weights.sum()) > 1e-5 * final:
            raise ValueError(f"control point {k}: spot weights do not add up to the step in cumulative weight")
        if not weights.any():
            continue
        xy = np.array(point.ScanSpotPositionMap, dtype=np.float64).reshape(-1, 2)
        if not len(xy) == len(weights) == int(point.NumberOfScanSpotPositions):
            raise ValueError(f"control point {k}: {len(xy)} positions, {len(weights)} weights")
        layers.append(ReadLayer(energy, xy[:, 0], xy[:, 1], weights * mu_per_weight))
    first = points[0]
    x, y, z = (float(v) for v in first.IsocenterPosition)
    return ReadBeam(
        int(item.BeamNumber),
        str(item.BeamName),
        float(first.GantryAngle),
        float(first.PatientSupportAngle),
        (x, y, z),
        tuple(layers),
    )

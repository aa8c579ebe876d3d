"""Patients made of numbers, for tests of engines and planning: a water box with a target and what else is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from radiarch_contract.job import DvhCurve
from radiarch_contract.states import Stage
from radiarch_contract.structures import StructureRef
from radiarch_worker.model import CtVolume, Grid, Patient, PatientStudy, Structure
from radiarch_worker.position import PatientPosition

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

STUDY = PatientStudy("WATER", "", "", "", "2.25.1", "", "20260101", "", "", "", "")


def box_mask(grid: Grid, box: Box) -> npt.NDArray[np.bool_]:
    """Voxels whose centre lies in ((x0, x1), (y0, y1), (z0, z1)), patient LPS mm."""
    inside = [(grid.axis_mm(a) >= box[a][0]) & (grid.axis_mm(a) <= box[a][1]) for a in range(3)]
    mask: npt.NDArray[np.bool_] = inside[2][:, None, None] & inside[1][None, :, None] & inside[0][None, None, :]
    return mask


def patient(
    grid: Grid,
    body: Box,
    structures: Mapping[str, Box],
    hu: npt.NDArray[np.float32] | None = None,
    inserts: Mapping[Box, float] | None = None,
) -> Patient:
    """A patient whose BODY is a box of water (0 HU) with inserts."""
    outline = box_mask(grid, body)
    values = np.where(outline, 0.0, -1000.0).astype(np.float32) if hu is None else hu
    for box, value in (inserts or {}).items():
        values[box_mask(grid, box)] = value
    rois = {
        number: Structure(number, name, "", box_mask(grid, box))
        for number, (name, box) in enumerate(structures.items(), start=2)
    }
    body_structure = Structure(1, "BODY", "EXTERNAL", outline)
    ct = CtVolume(values, grid, "2.25.2", "2.25.3", "1.2.840.10008.5.1.4.1.1.2", (), PatientPosition.HFS, STUDY)
    return Patient(ct, {1: body_structure, **rois}, body_structure, "2.25.4", "1.2.840.10008.5.1.4.1.1.481.3")


def refs(a_patient: Patient) -> dict[str, StructureRef]:
    """Every structure under its own name."""
    return {s.name: StructureRef(name=s.name, roi_number=n, roi_name=s.name) for n, s in a_patient.structures.items()}


@dataclass
class Recorder:
    """A reporter that remembers."""

    stages: list[Stage] = field(default_factory=list)
    work: dict[Stage, float] = field(default_factory=dict)
    fractions: list[tuple[Stage | None, float]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)
    terms: list[dict[str, float]] = field(default_factory=list)
    previews: list[tuple[DvhCurve, ...]] = field(default_factory=list)

    def stage(self, stage: Stage, message: str = "") -> None:
        self.stages.append(stage)

    def expect(self, work: Mapping[Stage, float]) -> None:
        self.work.update(work)

    def progress(self, fraction: float, message: str = "") -> None:
        self.fractions.append((self.stages[-1] if self.stages else None, fraction))

    def log(self, line: str) -> None:
        self.lines.append(line)

    def solver(self, iteration: int, objective: float, terms: Mapping[str, float]) -> None:
        self.objectives.append(objective)
        self.terms.append(dict(terms))

    def preview(self, dvh: Sequence[DvhCurve]) -> None:
        self.previews.append(tuple(dvh))

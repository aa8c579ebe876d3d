"""Quick DVHs of a dose while planning goes on; what is reported in the end is `evaluation`'s."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from radiarch_contract.job import DvhCurve
from radiarch_contract.structures import StructureRef

from radiarch_worker.model import Dose, Patient, Reporter
from radiarch_worker.runtime.extras import attempted

from .geometry import sample_mask

_BINS = 150
MAX_CURVES = 40
"""More could not be distinguished, nor fit into an attempt's status; the result has all."""


def report_preview(reporter: Reporter, patient: Patient, dose: Dose, named: Mapping[str, StructureRef]) -> None:
    """Send `preview_dvh` to the followers of a run; where that fails, the log says why and planning goes on."""
    notes: list[str] = []  # the result has the DVHs of the final dose
    attempted("preview", lambda: reporter.preview(preview_dvh(patient, dose, named)), reporter.log, notes)


def preview_dvh(patient: Patient, dose: Dose, named: Mapping[str, StructureRef]) -> tuple[DvhCurve, ...]:
    """Cumulative DVHs by the dose grid's voxels, of structures that have at least one.

    Parameters
    ----------
    named
        Structures of the prescription, objectives and goals: they come first where there are more than `MAX_CURVES`.
    """
    curves: list[DvhCurve] = []
    edges = np.linspace(0.0, max(1.01 * float(dose.dose_gy.max()), 1e-6), _BINS)
    for number in dict.fromkeys([*(ref.roi_number for ref in named.values()), *sorted(patient.structures)]):
        structure = patient.structures.get(number)
        if structure is None or len(curves) == MAX_CURVES:
            continue
        values = dose.dose_gy[sample_mask(structure.mask, patient.ct.grid, dose.grid)]
        if not values.size:
            continue
        counts, _ = np.histogram(values, bins=edges)
        at_least = values.size - np.concatenate(([0], np.cumsum(counts)))
        curves.append(
            DvhCurve(
                structure=structure.name,
                roi_number=number,
                volume_cc=float(structure.mask.sum()) * patient.ct.grid.voxel_cc,
                dose_gy=tuple(np.round(edges, 4).tolist()),
                volume_percent=tuple(np.round(100.0 * at_least / values.size, 3).tolist()),
            )
        )
    return tuple(curves)

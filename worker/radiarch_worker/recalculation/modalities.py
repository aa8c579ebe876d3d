"""How plans of each modality are read and computed anew, by the SOP Class that they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode

from radiarch_worker.patient.attributes import Reader
from radiarch_worker.planning.proton.steps import RBE

from .compute import recompute
from .ion_plan import ION_PLAN, read_ion_plan
from .photon_compute import recompute_photons
from .photon_plan import PHOTON_PLAN, read_photon_plan
from .read_plan import ReadPlan
from .recomputed import Recomputed


@dataclass(frozen=True)
class Recalculation:
    """Recalculation of plans of one modality.

    Attributes
    ----------
    compute : as `recompute`
    rbe : constant RBE that its dose has
    """

    read: Callable[[Dataset], ReadPlan[Any]]
    compute: Callable[..., Recomputed]
    rbe: float


RECALCULATIONS: Mapping[str, Recalculation] = {
    str(ION_PLAN.sop_class_uid): Recalculation(read_ion_plan, recompute, RBE),
    str(PHOTON_PLAN.sop_class_uid): Recalculation(read_photon_plan, recompute_photons, 1.0),
}
"""By SOP Class UID."""


def recalculation_of(dataset: Dataset) -> Recalculation:
    """That of a plan's modality.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtplan``: the object is no treatment plan.
    """
    reader = Reader(dataset, "The plan", ErrorCode.UNREADABLE_RTPLAN)
    found = RECALCULATIONS.get(reader.text("SOPClassUID"))
    if found is None:
        raise reader.error("SOPClassUID", "is of no treatment plan, expected RT Ion Plan or RT Plan Storage")
    return found

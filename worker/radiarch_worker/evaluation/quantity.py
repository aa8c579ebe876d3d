"""Physical and RBE-weighted dose: what may be converted into the other, and what may not be judged at all.

Prescriptions, limits and goals are RBE-weighted. A stored dose says which of the two it is (Dose Type), and nothing in
it says by which RBE: only a constant that is known from elsewhere makes one of the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from pydicom.uid import RTPlanStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.job import DoseQuantity

from .rtdose import ReadDose


@dataclasses.dataclass(frozen=True)
class Settled:
    """Doses that are one quantity.

    Attributes
    ----------
    doses : with their values converted where that was needed
    factors : by which each was multiplied
    """

    doses: tuple[ReadDose, ...]
    factors: tuple[float, ...]
    quantity: DoseQuantity
    notes: tuple[str, ...]

    @property
    def weighted(self) -> bool:
        return self.quantity == "RBE_WEIGHTED"


def settle(doses: Sequence[ReadDose], rbe: float | None, *, prescribed: bool) -> Settled:
    """Make the doses one quantity: RBE-weighted where that is exact, else physical where nothing asks for more.

    Parameters
    ----------
    rbe
        Constant RBE of the physical ones, as asked for; None: only that of photons is known.
    prescribed
        Whether goals or a prescription are judged on them.

    Raises
    ------
    InputRefusedError
        ``unsupported_dose``: a physical dose would be judged by what is RBE-weighted, or compared with it.
    """
    factors = [_factor(dose, rbe) for dose in doses]
    known = [f for f in factors if f is not None]
    if len(known) == len(doses):
        made = tuple(weighted_by(dose, f) for dose, f in zip(doses, known, strict=True))
        notes = [n for d, f in zip(doses, known, strict=True) for n in _notes(d, f)]
        return Settled(made, tuple(known), "RBE_WEIGHTED", tuple(dict.fromkeys(notes)))
    physical = next(dose for dose, f in zip(doses, factors, strict=True) if f is None)
    name = f"the RTDOSE {physical.description.sop_instance_uid} is physical dose (Dose Type PHYSICAL)"
    if len({dose.weighted for dose in doses}) > 1:
        raise _refusal(f"{name} and its reference is RBE-weighted: they are not the same quantity")
    if prescribed:
        raise _refusal(f"{name}; goals and prescriptions are RBE-weighted: it cannot be judged by them")
    return Settled(
        tuple(doses),
        (1.0,) * len(doses),
        "PHYSICAL",
        ("DVHs and metrics are of physical dose: by which RBE it is to be weighted is not known.",),
    )


def weighted_by(dose: ReadDose, factor: float) -> ReadDose:
    """The dose with its values multiplied: what is said of it stays as its object has it."""
    if factor == 1.0:
        return dose
    return dataclasses.replace(dose, dose_gy=np.asarray(dose.dose_gy * np.float32(factor), dtype=np.float32))


def _factor(dose: ReadDose, rbe: float | None) -> float | None:
    if dose.weighted:
        return 1.0
    if rbe is not None:
        return rbe
    # photons: their RBE is 1, and physical dose is what is prescribed
    classes = {sop_class for sop_class, _ in dose.referenced_plans}
    return 1.0 if classes == {RTPlanStorage} else None


def _notes(dose: ReadDose, factor: float) -> tuple[str, ...]:
    if dose.weighted:
        return ()
    uid = dose.description.sop_instance_uid
    if factor == 1.0:
        return (f"The physical dose of RTDOSE {uid} was taken as it is for what is prescribed (RBE 1).",)
    return (f"The physical dose of RTDOSE {uid} was multiplied by {factor:g}, the constant RBE that was given.",)


def _refusal(problem: str) -> InputRefusedError:
    return InputRefusedError(
        problem,
        remedy="Export the RBE-weighted dose (Dose Type EFFECTIVE), or give rbe, the constant RBE of the physical one: "
        "1.1 for protons, 1 for photons.",
        code=ErrorCode.UNSUPPORTED_DOSE,
    )

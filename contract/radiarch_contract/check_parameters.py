"""Parameters of checks: evaluation of a dose, recalculation of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from .parameters import DoseParameters, WorkflowParameters, with_new_names
from .proton import LET_DESCRIPTION
from .strict import Asked
from .verdict import ActionLevels


class GammaCriteria(Asked):
    """Criteria of a gamma index; percentages are of the reference's maximum, or of its dose at each point."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"normalisation": "normalization"}

    dose_percent: float = Field(default=3.0, ge=0.5, le=20)
    distance_mm: float = Field(default=3.0, ge=0.5, le=20)
    normalization: Literal["global", "local"] = "global"
    cutoff_percent: float = Field(
        default=10.0, ge=0, le=90, description="Points with less of the reference's maximum are not judged."
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, given: Any) -> Any:
        return with_new_names(given, cls.OLD_NAMES) if isinstance(given, Mapping) else given


class CheckParameters(WorkflowParameters):
    """Of all checks: how a dose is compared with a reference, and judged."""

    gamma: GammaCriteria = GammaCriteria()
    levels: ActionLevels = Field(default=ActionLevels(), description="What the check's verdict is judged by.")
    rbe: float | None = Field(
        default=None,
        ge=1,
        le=2,
        description="Constant RBE between stored doses of Dose Type PHYSICAL and what is prescribed: such doses are "
        "multiplied by it. 1 for photons, and where a dose is RBE-weighted though it says PHYSICAL. Null: 1.1 for the "
        "dose of a proton plan that is recalculated, 1 for the dose of an RT Plan (photons), else it is not known.",
    )


class EvaluationParameters(CheckParameters):
    """`evaluation`: how a dose is judged, and compared with a reference, where there is one."""


class RecalculationParameters(CheckParameters, DoseParameters):
    """`recalculation`: with what an RT Ion Plan or RT Plan is computed anew, and how it is compared.

    Protons alone have ``uncertainty_percent``, ``final_primaries``, ``spot_size``, ``machine`` and ``let``, photons
    ``linac``.
    """

    uncertainty_percent: float = Field(
        default=1.5,
        ge=0.3,
        le=10,
        description="Wanted statistical uncertainty, 1 sigma, mean over the target's voxels (without a target: over "
        "voxels with at least half of the maximum).",
    )
    final_primaries: int | None = Field(
        default=None,
        ge=10_000,
        le=1_000_000_000,
        description="Protons simulated; null: as many as uncertainty_percent needs.",
    )
    meterset_scale: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="Protons, or dose of photons, per MU of the plan's machine over those of `machine` or `linac`; "
        "null: 1 where the plan was made for that, else derived from the plan's RTDOSE.",
    )
    spot_size: Literal["plan", "machine"] = Field(
        default="plan",
        description="plan: spots as wide as a plan of another machine says they are (Scanning Spot Size), where it "
        "does; machine: always as wide as the beam data have them.",
    )
    machine: str = Field(default="BDL_default_UN_RangeShifter", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    linac: str = Field(
        default="generic-120",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="Machine file that photon plans are computed with; generic-120 is nobody's machine.",
    )
    let: bool = Field(default=False, description=LET_DESCRIPTION)

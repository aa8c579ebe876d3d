"""What parameters of all workflows share, and those of dose and of planning; a modality's own are in its module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from .derived import Definitions
from .errors import InvalidRequestError
from .normalization import Normalization
from .strict import Asked

Coordinate = Annotated[float, Field(ge=-5000, le=5000, allow_inf_nan=False)]
Vector3 = tuple[Coordinate, Coordinate, Coordinate]
DEFAULT_MAX_CONTOUR_GAP_MM = 10.0
CALIBRATION_DESCRIPTION = (
    "Name of the CT calibration; auto: the site's that is for the CT's scanner and tube voltage, else the generic one."
)
Factor = Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)]


class TargetDose(Asked):
    """A dose to a target, total over all fractions."""

    target: str = Field(min_length=1, max_length=64, description="Name of the target structure.")
    dose_gy: float = Field(gt=0, le=120, description="Total dose over all fractions in Gy (RBE-weighted for protons).")


class Prescription(TargetDose):
    """What is prescribed: total dose over all fractions, RBE-weighted for protons."""

    fractions: int = Field(ge=1, le=60)
    more: tuple[TargetDose, ...] = Field(
        default=(),
        max_length=9,
        exclude_if=lambda more: not more,
        description="Further targets with doses of their own, treated in the same fractions.",
    )

    @model_validator(mode="after")
    def _each_target_once(self) -> Self:
        names = [t.target for t in self.targets]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"target {name!r} has two doses")
        return self

    @property
    def targets(self) -> tuple[TargetDose, ...]:
        """All targets, the main one first."""
        return (TargetDose.model_construct(target=self.target, dose_gy=self.dose_gy), *self.more)  # it is validated

    def dose_of_gy(self, structure: str) -> float:
        """A target's own dose; for everything else the main target's."""
        return next((t.dose_gy for t in self.targets if t.target == structure), self.dose_gy)


class DensityOverride(Asked):
    """What a structure is counted as, instead of what the CT says: HU, or a mass density by the CT's calibration."""

    structure: str = Field(min_length=1, max_length=64)
    hu: float | None = Field(default=None, ge=-1024, le=30_000)
    density_g_cm3: float | None = Field(default=None, gt=0, le=25)
    extend_body: bool = Field(
        default=False, description="Whether it belongs to the patient's outline where it lies outside: bolus, a couch."
    )

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if (self.hu is None) == (self.density_g_cm3 is None):
            raise ValueError("give hu or density_g_cm3, one of them")
        return self


class GoalTuning(Asked):
    """How far objectives may be tuned so that goals are met."""

    max_rounds: int = Field(default=20, ge=1, le=100, description="Each optimises again from where the last one ended.")
    weight_limits: tuple[Factor, Factor] = Field(
        default=(0.05, 50.0), description="Least and most that a weight may become, as factors of what is written."
    )
    dose_limits: tuple[Factor, Factor] = Field(
        default=(0.8, 1.1), description="Least and most that an objective's dose may become, as factors."
    )

    @model_validator(mode="after")
    def _around_what_is_written(self) -> Self:
        for name in ("weight_limits", "dose_limits"):
            low, high = getattr(self, name)
            if not low <= 1 <= high:
                raise ValueError(f"{name} must hold 1, what is written, between them; they are {low:g} and {high:g}")
        return self


def with_new_names(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What was given, under new names (by old name); where both are given, the new one counts."""
    values = {name: value for name, value in given.items() if name not in names}
    for old, new in names.items():
        if old in given:
            values.setdefault(new, given[old])
    return values


class WorkflowParameters(Asked):
    """Base of every workflow's parameters.

    A parameter that was renamed is accepted under its old name for one version.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {}
    """New name by old name."""
    old_names: SkipJsonSchema[tuple[str, ...]] = Field(
        default=(), exclude_if=lambda names: not names, description="Which parameters were given by an old name."
    )

    derived: Definitions = Field(
        default={},
        description="Structures made of others, by name: 'PTV minus Rectum', 'PTV grown 5 mm except posterior 3 mm'.",
    )
    max_contour_gap_mm: float = Field(
        default=DEFAULT_MAX_CONTOUR_GAP_MM,
        ge=0,
        le=50,
        description="CT slices without a contour are interpolated where no more than this is missing between two "
        "contours. With more missing, a target or the patient's outline is refused, and others have two parts.",
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        values = with_new_names(given, cls.OLD_NAMES)
        # A stored record has every parameter. One that asks for nothing is not worth a note.
        noted = tuple(old for old in cls.OLD_NAMES if given.get(old) not in (None, False))
        return {**values, "old_names": noted} if noted else values

    @field_validator("old_names")
    @classmethod
    def _only_old_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [n for n in names if n not in cls.OLD_NAMES]:
            raise ValueError(f"{unknown[0]!r} is not the old name of a parameter")
        return names

    @property
    def asked_beams(self) -> tuple[Any, ...]:
        """Beams as answers show them before there is a plan; none where that cannot be said in a line each."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user has to know about the parameters as they were given."""
        return tuple(
            f"Parameter {old} is now called {self.OLD_NAMES[old]}. The old name is accepted in this version only: "
            "use the new one."
            for old in self.old_names
        )


class DoseParameters(WorkflowParameters):
    """Parameters of every workflow that computes a dose."""

    scoring_spacing_mm: float = Field(
        default=3.0,
        ge=1,
        le=6,
        description="Wanted spacing of the dose grid; made a whole multiple of the CT's, on CT voxel centres.",
    )
    seed: int = Field(default=1, ge=1, le=2_000_000_000)
    ct_calibration: str = Field(default="auto", pattern=r"^[A-Za-z0-9_-]{1,64}$", description=CALIBRATION_DESCRIPTION)
    overrides: tuple[DensityOverride, ...] = Field(
        default=(), max_length=20, description="Structures that count with another density than the CT's."
    )


class PlanningParameters(DoseParameters):
    """Parameters of every workflow that plans."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"normalisation": "normalization"}

    max_iterations: int = Field(default=150, ge=1, le=5000)
    method: Literal["L-BFGS-B", "projected-gradient"] = "L-BFGS-B"
    normalization: str | None = Field(
        default=None,
        max_length=120,
        description="Dose to which the finished plan is scaled, dose and meterset alike: 'D95% = 100%' (of the target) "
        "or 'CTV: D98% = 57 Gy'; null: it is not scaled.",
    )
    isocenter_mm: Vector3 | None = Field(
        default=None, description="Patient LPS, mm; null: the target's centre of mass."
    )

    @field_validator("normalization")
    @classmethod
    def _readable_normalization(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                Normalization.parse(text, target="target")
            except InvalidRequestError as e:
                raise ValueError(str(e)) from None
        return text

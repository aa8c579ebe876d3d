"""Parameters of planning with photons; those that all planning shares are in `parameters`.

A model here is no offer: workflows that workers can plan are in `workflows`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .objectives import Objective
from .parameters import PlanningParameters
from .strict import Asked

Angle = Annotated[float, Field(ge=0, lt=360, allow_inf_nan=False)]
MAX_FIELD_MM = 400.0
"""Side of the largest field of a linear accelerator, at the isocenter."""
LEAST_ARC_DEG = 10.0

DoseEngine = Literal["collapsed-cone", "opentps-ccc"]
ApertureCount = Annotated[int, Field(ge=1, le=500)]


class Rectangle(Asked):
    """Jaws at the isocenter, mm, on the axes of the beam limiting devices (IEC 61217)."""

    x1_mm: float = Field(ge=-MAX_FIELD_MM / 2, le=MAX_FIELD_MM / 2)
    x2_mm: float = Field(ge=-MAX_FIELD_MM / 2, le=MAX_FIELD_MM / 2)
    y1_mm: float = Field(ge=-MAX_FIELD_MM / 2, le=MAX_FIELD_MM / 2)
    y2_mm: float = Field(ge=-MAX_FIELD_MM / 2, le=MAX_FIELD_MM / 2)

    @model_validator(mode="after")
    def _open(self) -> Self:
        for low, high in (("x1_mm", "x2_mm"), ("y1_mm", "y2_mm")):
            a, b = getattr(self, low), getattr(self, high)
            if b - a < 5:
                raise ValueError(f"{high} must be at least 5 mm more than {low}; they are {b:g} and {a:g}")
        return self


class StaticField(Asked):
    """A beam whose gantry stands; angles are IEC 61217, degrees."""

    gantry_deg: Angle
    couch_deg: Angle = 0.0
    collimator_deg: Angle = 0.0
    name: str | None = Field(default=None, max_length=16)


class OpenField(StaticField):
    """A beam of one aperture: the target's outline with a margin, or a rectangle."""

    rectangle: Rectangle | None = Field(
        default=None, description="Null: leaves and jaws follow the target, grown by target_margin_mm."
    )
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="Share of the dose at the isocenter, where MU follow the prescription."
    )
    meterset_mu: float | None = Field(
        default=None, gt=0, le=10_000, description="Of one fraction; null: from the prescription. All beams, or none."
    )


class Arc(Asked):
    """A beam whose gantry turns; angles are IEC 61217, degrees."""

    start_deg: Angle
    stop_deg: Angle
    direction: Literal["clockwise", "counter_clockwise"] = Field(
        description="For one who faces the gantry; clockwise is towards larger angles."
    )
    couch_deg: Angle = 0.0
    collimator_deg: Angle = 30.0
    name: str | None = Field(default=None, max_length=16)

    @property
    def turn_deg(self) -> float:
        """How far the gantry turns, more than 0.

        Examples
        --------
        >>> Arc(start_deg=181.0, stop_deg=179.0, direction="clockwise").turn_deg
        358.0
        >>> Arc(start_deg=30.0, stop_deg=330.0, direction="counter_clockwise").turn_deg
        60.0
        """
        sign = 1.0 if self.direction == "clockwise" else -1.0
        return (sign * (self.stop_deg - self.start_deg)) % 360.0

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.turn_deg < LEAST_ARC_DEG:
            raise ValueError(
                f"the arc from {self.start_deg:g} to {self.stop_deg:g}, {self.direction}, is {self.turn_deg:g} degrees "
                f"long, expected at least {LEAST_ARC_DEG:g}; a whole turn goes from 180.1 to 179.9"
            )
        return self


class PhotonParameters(PlanningParameters):
    """Parameters of all planning with photons."""

    machine: str = Field(
        default="generic-120",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="Name of a machine file; generic-120 is nobody's machine.",
    )
    energy_mv: float = Field(default=6.0, ge=1, le=50, description="Nominal energy; one that the machine file has.")
    fluence: Literal["flattened", "unflattened"] = Field(
        default="flattened", description="Unflattened: without flattening filter (FFF)."
    )
    target_margin_mm: float = Field(default=5.0, ge=0, le=30, description="Between the target and the aperture's edge.")


class OpenFieldsParameters(PhotonParameters):
    """`photon-ccc`: open, rectangular or target-conformal fields."""

    fields: tuple[OpenField, ...] = Field(min_length=1, max_length=20)
    engine: DoseEngine = Field(
        default="collapsed-cone",
        description="collapsed-cone: with the machine's beam model; opentps-ccc: OpenTPS's, for open fields, without "
        "scatter of collimators and with less of the patient's.",
    )

    @model_validator(mode="after")
    def _meterset_of_all_or_none(self) -> Self:
        given = [f.meterset_mu is not None for f in self.fields]
        if any(given) and not all(given):
            raise ValueError("give meterset_mu of all fields, or of none")
        return self


class OptimizedPhotonParameters(PhotonParameters):
    """What planning with optimised apertures has in common."""

    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=100)
    correction_rounds: int = Field(
        default=1,
        ge=0,
        le=5,
        description="How often the optimiser's pencil beams are corrected by the collapsed cone of the apertures.",
    )

    @model_validator(mode="after")
    def _nominal_objectives(self) -> Self:
        if any(o.robust for o in self.objectives):
            raise ValueError("robust objectives are planned with protons only (proton-robust)")
        return self


class PhotonImrtParameters(OptimizedPhotonParameters):
    """`photon-imrt`: step and shoot, apertures and MU optimised together."""

    beam_count: int | None = Field(
        default=None, ge=1, le=20, description="Evenly spaced beams from gantry 0; give this or beams."
    )
    beams: tuple[StaticField, ...] = Field(default=(), max_length=20)
    apertures: ApertureCount = Field(default=60, description="Most apertures of all beams together.")
    aperture_mu_min: float = Field(default=2.0, ge=0.1, le=50, description="Least MU of an aperture in one fraction.")
    aperture_area_min_cm2: float = Field(default=4.0, ge=0.5, le=100, description="Least open area of an aperture.")

    @model_validator(mode="after")
    def _one_way_to_give_beams(self) -> Self:
        if self.beams and self.beam_count is not None:
            raise ValueError("give beams or beam_count, not both")
        if self.apertures < len(self.planned_beams):
            raise ValueError(f"{self.apertures} apertures are too few for {len(self.planned_beams)} beams")
        return self

    @property
    def planned_beams(self) -> tuple[StaticField, ...]:
        """The beams as given, else ``beam_count`` (default 9) evenly spaced from gantry 0."""
        if self.beams:
            return self.beams
        n = self.beam_count or 9
        return tuple(StaticField(gantry_deg=360.0 * i / n) for i in range(n))


class PhotonVmatParameters(OptimizedPhotonParameters):
    """`photon-vmat`: one or more arcs."""

    arcs: tuple[Arc, ...] = Field(
        default=(Arc(start_deg=180.1, stop_deg=179.9, direction="clockwise"),), min_length=1, max_length=6
    )
    control_point_spacing_deg: Literal[2, 4] = Field(
        default=2, description="Of the gantry between control points; the last step of an arc may be shorter."
    )

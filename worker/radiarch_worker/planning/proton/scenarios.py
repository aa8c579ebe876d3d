"""The error scenarios of a robust plan; their doses are computed elsewhere."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from radiarch_contract.workflows import ImptRobustParameters

from radiarch_worker.model import Vector3

_NONE = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Scenario:
    """One error, the same in every fraction but for the random part.

    Attributes
    ----------
    shift_mm : of the patient against the beams, patient LPS
    range_percent : error of density; above 0, protons are stopped more than by the CT, and ranges get shorter
    random_mm : standard deviation of the shift from fraction to fraction, by axis
    """

    name: str
    shift_mm: Vector3 = _NONE
    range_percent: float = 0.0
    random_mm: Vector3 = _NONE

    @property
    def isocenter_shift_mm(self) -> Vector3:
        """Where the beams' isocenter lies in a patient that was shifted."""
        x, y, z = self.shift_mm
        return (0.0 - x, 0.0 - y, 0.0 - z)


NOMINAL = Scenario("nominal")


def select_scenarios(parameters: ImptRobustParameters) -> tuple[Scenario, ...]:
    """The nominal scenario, then the errors.

    ``REDUCED_SET``: no shift and both ways along each axis, each with the three ranges (20 errors with all axes and
    range). ``ALL``: every combination of no shift and both ways on each axis, with the three ranges (80 errors).
    ``RANDOM``: seeded draws from normal distributions with the errors as standard deviations. With a random setup error
    every error has it, and there is one more that has nothing else.
    """
    random = parameters.setup_random_mm
    errors: list[tuple[Vector3, float]]
    if parameters.strategy == "RANDOM":
        errors = _drawn(parameters)
    else:
        ranges = _ways(parameters.range_percent)
        axes = [_ways(e) for e in parameters.setup_systematic_mm]
        shifts: list[Vector3]
        if parameters.strategy == "ALL":
            shifts = [(x, y, z) for x, y, z in itertools.product(*axes)]
        else:
            shifts = [_NONE]
            for axis, ways in enumerate(axes):
                shifts += [_along(axis, way) for way in ways if way]
        errors = [(shift, r) for shift in shifts for r in ranges if any(shift) or r or any(random)]
    return (NOMINAL, *(Scenario(_name(shift, r, any(random)), shift, r, random) for shift, r in errors))


def _ways(error: float) -> tuple[float, ...]:
    return (0.0, -error, error) if error else (0.0,)


def _along(axis: int, way: float) -> Vector3:
    shift = [0.0, 0.0, 0.0]
    shift[axis] = way
    return (shift[0], shift[1], shift[2])


def _drawn(parameters: ImptRobustParameters) -> list[tuple[Vector3, float]]:
    rng = np.random.default_rng([parameters.seed, 0x5C])
    sigmas = np.array([*parameters.setup_systematic_mm, parameters.range_percent])
    draws = np.round(rng.standard_normal((parameters.scenario_count or 0, 4)) * sigmas, 3) + 0.0
    return [((float(x), float(y), float(z)), float(r)) for x, y, z, r in draws]


def _name(shift: Vector3, range_percent: float, random: bool) -> str:
    words = [f"{axis}{value:+.3g} mm" for axis, value in zip("xyz", shift, strict=True) if value]
    if range_percent:
        words.append(f"density {range_percent:+.3g} %")
    if random:
        words.append("random")
    return ", ".join(words) or "no error"

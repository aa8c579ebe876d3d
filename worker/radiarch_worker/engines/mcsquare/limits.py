"""What the beam data libraries do not say of the machines, with source or reason for each number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MachineLimits:
    """Limits of delivery.

    Attributes
    ----------
    spot_mu_min
        Least meterset of one spot in one fraction. The libraries of opentps-core describe generic IBA
        nozzles and give none. 0.02 MU (2 to 3 million protons with these libraries) is our assumption, at the
        upper end of what is used with such nozzles, so that what is planned with it is deliverable; it is not
        a manufacturer's figure. A clinic gives its own as ``spot_mu_min`` of the plan.
    field_x_mm, field_y_mm
        Half the scanned field at the isocenter: 30 cm by 40 cm, as OpenTPS's spot placement states for
        IBA's Proteus Plus (``planInitializer.py``).
    """

    spot_mu_min: float = 0.02
    field_x_mm: float = 150.0
    field_y_mm: float = 200.0


MACHINE_LIMITS: Mapping[str, MachineLimits] = {
    "BDL_default_UN_RangeShifter": MachineLimits(),
    "BDL_default_DN_RangeShifter": MachineLimits(),
}

"""What photons need before a job can be quick: kernels, the machine's calibration, and compiled code."""

from __future__ import annotations

from radiarch_worker.engines.collapsedcone import gy_per_mu
from radiarch_worker.engines.photonkernels import point_kernels
from radiarch_worker.machines.photon_machine import GENERIC_LINAC, photon_machine


def warm_up() -> None:
    """The calibration is a dose of the collapsed cone in water, which compiles all of it."""
    assert point_kernels().digest
    linac = photon_machine(GENERIC_LINAC).file
    assert gy_per_mu(linac, linac.energies[0], 3.0) > 0

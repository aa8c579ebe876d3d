"""Dose of the beams of a photon plan, control point by control point, as they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.machines.photon_machine import PhotonMachine, PhotonMachineFile
from radiarch_worker.model import Grid
from radiarch_worker.photon import FluenceMode, PhotonBeam
from radiarch_worker.position import PatientPosition

from .dose import Field, compute_dose
from .fluence import Aperture

TOGETHER_DEG = 6.0
"""Exposures of an arc that are swept together: their directions differ by no more."""
FILE_MODES = {FluenceMode.FLATTENED: "STANDARD", FluenceMode.UNFLATTENED: "FFF"}
"""What machine files call a fluence mode."""


def plan_dose(
    density: npt.NDArray[np.float32],
    grid: Grid,
    beams: Sequence[PhotonBeam],
    position: PatientPosition,
    machine: PhotonMachine,
    threads: int = 1,
    together_deg: float = TOGETHER_DEG,
    progress: Callable[[float], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Dose of one fraction.

    Parameters
    ----------
    density : (Z, Y, X) float32, g/cm³ on ``grid``; 0 outside of what is irradiated
    threads : cores to use; no bit of the result depends on it
    together_deg : how far the directions of an arc may differ that are swept as one; 0: each by itself

    Returns
    -------
    dose_gy : (Z, Y, X) float32, Gy to water, one fraction

    Raises
    ------
    InvalidRequestError
        The machine has no beam of a plan's energy.
    """
    total = np.zeros(grid.shape, dtype=np.float32)
    for n, beam in enumerate(beams):
        energy = machine.energy(beam.energy_mv, FILE_MODES[beam.fluence])

        def done(share: float, before: int = n) -> None:
            if progress is not None:
                progress((before + share) / len(beams))

        fields = beam_fields(beam, position)
        total += compute_dose(
            density, grid, fields, with_leaves(machine.file, beam), energy, threads, together_deg, done
        )
    return total


def beam_fields(beam: PhotonBeam, position: PatientPosition) -> list[Field]:
    """The still apertures that a beam is made of, in the order in which they are irradiated."""
    fields = []
    for exposure in beam.exposures():
        point = exposure.point
        axes = BeamAxes.of(point.gantry_deg, beam.couch_deg, position).collimated(beam.collimator_deg)
        aperture = Aperture(point.leaves_mm, point.jaws_x_mm, point.jaws_y_mm)
        fields.append(Field(beam.isocenter_mm, axes.direction, axes.x, axes.y, aperture, exposure.mu))
    return fields


def with_leaves(machine: PhotonMachineFile, beam: PhotonBeam) -> PhotonMachineFile:
    """The machine with the leaves that a beam has, should they be of other widths: a plan of another machine."""
    if beam.leaf_boundaries_mm is None:
        return machine
    boundaries = tuple(map(float, beam.leaf_boundaries_mm))
    if boundaries == machine.mlc.boundaries_mm:
        return machine
    return machine.model_copy(update={"mlc": machine.mlc.model_copy(update={"boundaries_mm": boundaries})})

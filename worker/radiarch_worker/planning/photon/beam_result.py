"""A photon beam as answers show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from radiarch_contract.job import BeamResult

from radiarch_worker.photon import PhotonBeam, Rotation

_ROTATION: Mapping[Rotation, Literal["clockwise", "counter_clockwise"] | None] = {
    Rotation.NONE: None,
    Rotation.CLOCKWISE: "clockwise",
    Rotation.COUNTER_CLOCKWISE: "counter_clockwise",
}


def photon_beam_result(beam: PhotonBeam) -> BeamResult:
    turns = beam.rotation is not Rotation.NONE
    return BeamResult(
        number=beam.number,
        name=beam.name,
        gantry_deg=beam.gantry_deg,
        couch_deg=beam.couch_deg,
        isocenter_mm=beam.isocenter_mm,
        collimator_deg=beam.collimator_deg,
        gantry_stop_deg=beam.control_points[-1].gantry_deg if turns else None,
        rotation=_ROTATION[beam.rotation],
        energy_mv=beam.energy_mv,
        fluence=beam.fluence.value,
        control_points=len(beam.control_points),
        meterset_mu=beam.meterset_mu,
    )

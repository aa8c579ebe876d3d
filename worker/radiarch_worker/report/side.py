"""The side of the patient from which a beam comes, in letters."""

from __future__ import annotations

from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.model import Beam
from radiarch_worker.position import PatientPosition

_NAMED_SIDE = 0.35
"""Of a beam's direction: a side from which it comes by less (20°) is not named."""


def side_of_source(beam: Beam, position: PatientPosition) -> str:
    """Direction of the source from the isocenter: letters of the patient's sides, the nearest first."""
    source = -BeamAxes.of(beam.gantry_deg, beam.couch_deg, position).direction
    letters = zip(source, ("LR", "PA", "HF"), strict=True)
    sides = sorted(((abs(v), pair[0] if v > 0 else pair[1]) for v, pair in letters), reverse=True)
    return "".join(letter for part, letter in sides if part >= _NAMED_SIDE)

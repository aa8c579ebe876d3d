"""The report's table of photon beams; other modalities register tables of their own in `sections`."""

from __future__ import annotations

from radiarch_worker.photon import FluenceMode, PhotonBeam, Rotation
from radiarch_worker.position import PatientPosition

from .flow import Column
from .side import side_of_source

_TURNS = {Rotation.CLOCKWISE: "clockwise to", Rotation.COUNTER_CLOCKWISE: "counter-clockwise to"}

COLUMNS = (
    Column("", 5, "right"),
    Column("Name", 21),
    Column("Gantry °", 46, "right"),
    Column("Coll. °", 13, "right"),
    Column("Couch °", 14, "right"),
    Column("Isocenter x, y, z mm", 35, "right"),
    Column("Energy", 16, "right"),
    Column("Points", 12, "right"),
    Column("MU", 14, "right"),
)


def row(beam: PhotonBeam, position: PatientPosition) -> list[str]:
    """A beam's cells."""
    if beam.rotation is Rotation.NONE:
        gantry = f"{beam.gantry_deg:.1f} from {side_of_source(beam, position)}"
    else:
        gantry = f"{beam.gantry_deg:.1f} {_TURNS[beam.rotation]} {beam.control_points[-1].gantry_deg:.1f}"
    return [
        str(beam.number),
        beam.name,
        gantry,
        f"{beam.collimator_deg:.1f}",
        f"{beam.couch_deg:.1f}",
        ", ".join(f"{v:z.1f}" for v in beam.isocenter_mm),
        f"{beam.energy_mv:g} MV" + (" FFF" if beam.fluence is FluenceMode.UNFLATTENED else ""),
        str(len(beam.control_points)),
        f"{beam.meterset_mu:.1f}",
    ]

"""The report's table of scanned proton beams; other modalities register tables of their own in `sections`."""

from __future__ import annotations

from radiarch_worker.ion import IonBeam
from radiarch_worker.position import PatientPosition

from .flow import Column
from .side import side_of_source

COLUMNS = (
    Column("", 5, "right"),
    Column("Name", 21),
    Column("Gantry °", 15, "right"),
    Column("Couch °", 14, "right"),
    Column("From", 11),
    Column("Isocenter x, y, z mm", 38, "right"),
    Column("Layers", 13, "right"),
    Column("Spots", 14, "right"),
    Column("Energies MeV", 27, "right"),
    Column("MU", 18, "right"),
)


def row(beam: IonBeam, position: PatientPosition) -> list[str]:
    """A beam's cells."""
    energies = [layer.energy_mev for layer in beam.layers]
    return [
        str(beam.number),
        beam.name,
        f"{beam.gantry_deg:.1f}",
        f"{beam.couch_deg:.1f}",
        side_of_source(beam, position),
        ", ".join(f"{v:z.1f}" for v in beam.isocenter_mm),
        str(len(beam.layers)),
        str(sum(len(layer.meterset_mu) for layer in beam.layers)),
        f"{min(energies):.1f} – {max(energies):.1f}" if energies else "–",
        f"{sum(float(layer.meterset_mu.sum()) for layer in beam.layers):.2f}",
    ]

"""The beam data that a plan is computed with, as the plan's machine is: spots, sources, range shifters."""

from __future__ import annotations

import dataclasses

import numpy as np
from radiarch_contract.workflows import RecalculationParameters

from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import variations

from .beam_item import unsupported
from .ion_plan import SOURCE_TOLERANCE_MM, ReadIonPlan

SPOT_SPREAD_MM = 0.5
"""By how much spots of one energy may differ in width between beams: one set of beam data has one width."""
SHIFTER_TOLERANCE_MM = 0.5
"""By how much a range shifter's water-equivalent thickness may differ from the machine's: systems round it."""


def is_known(plan: ReadIonPlan, machine: mcsquare.ProtonMachine) -> bool:
    """Whether the plan was made for the very beam data that are used: then its MU are theirs."""
    return all(m.model == machine.name for m in plan.machines)


def with_the_plans_spots(
    plan: ReadIonPlan, machine: mcsquare.ProtonMachine, parameters: RecalculationParameters
) -> tuple[mcsquare.ProtonMachine, tuple[str, ...]]:
    """The machine with spots as wide as the plan says, and what is to be said of it.

    A plan of the very beam data that are used has their spots already.
    """
    if parameters.spot_size == "machine" or is_known(plan, machine):
        return machine, ()
    given: dict[float, set[tuple[float, float]]] = {}
    for beam in plan.beams:
        for layer in beam.layers:
            if layer.spot_fwhm_mm is not None:
                given.setdefault(layer.energy_mev, set()).add(layer.spot_fwhm_mm)
    own = f"Spots are as wide as the beam data {machine.name} have them"
    if not given:
        return machine, (f"{own}: the plan does not say how wide its machine's are.",)
    spread = max(max(s[i] for s in sizes) - min(s[i] for s in sizes) for sizes in given.values() for i in (0, 1))
    if spread > SPOT_SPREAD_MM:
        return machine, (f"{own}: the plan's beams have spots of different widths at one energy.",)
    sizes = [(e, _mean(given[e], 0), _mean(given[e], 1)) for e in sorted(given)]
    wanted, had = [x for _, x, _ in sizes], [machine.spot_fwhm_mm(e)[0] for e, _, _ in sizes]
    note = (
        f"Spots are as wide as the plan says its machine's are: {min(wanted):.1f} to {max(wanted):.1f} mm (full width "
        f"at half maximum in air at the isocenter); the beam data {machine.name} have {min(had):.1f} to "
        f"{max(had):.1f} mm. Their halo is that of the beam data."
    )
    return variations.with_spot_sizes(machine, sizes), (note,)


def with_the_plans_source(
    plan: ReadIonPlan, machine: mcsquare.ProtonMachine
) -> tuple[mcsquare.ProtonMachine, tuple[str, ...]]:
    """The machine with virtual sources as far away as the plan says, and what is to be said of it."""
    own = (machine.smx_mm, machine.smy_mm)
    given = plan.source_distances_mm
    if given is None:
        return machine, (
            f"The plan does not say how far its virtual sources are: those of the beam data {machine.name} were used "
            f"({own[0]:g} and {own[1]:g} mm).",
        )
    if max(abs(a - b) for a, b in zip(given, own, strict=True)) <= SOURCE_TOLERANCE_MM:
        return machine, ()
    if min(given) <= machine.nozzle_isocenter_mm:
        raise unsupported(
            f"the plan's virtual sources are {given[0]:g} and {given[1]:g} mm from the isocenter; the nozzle of the "
            f"beam data {machine.name} ends {machine.nozzle_isocenter_mm:g} mm from it",
            "Name machine data of the plan's machine.",
        )
    return variations.with_source_distances(machine, given), (
        f"Virtual sources are as far away as the plan says: {given[0]:g} and {given[1]:g} mm; the beam data "
        f"{machine.name} have {own[0]:g} and {own[1]:g} mm.",
    )


def _mean(sizes: set[tuple[float, float]], axis: int) -> float:
    return float(np.mean([s[axis] for s in sorted(sizes)]))


def check_energies(plan: ReadIonPlan, machine: mcsquare.ProtonMachine) -> None:
    energies = [layer.energy_mev for beam in plan.beams for layer in beam.layers]
    low, high = min(energies), max(energies)
    if low < machine.energy_min_mev - 1e-3 or high > machine.energy_max_mev + 1e-3:
        raise unsupported(
            f"the plan has energies from {low:.1f} to {high:.1f} MeV; machine data {machine.name} go from "
            f"{machine.energy_min_mev:.1f} to {machine.energy_max_mev:.1f} MeV",
            "Name machine data that cover the plan's energies.",
        )


def with_known_shifters(plan: ReadIonPlan, machine: mcsquare.ProtonMachine) -> ReadIonPlan:
    """The plan with its range shifters by the names that the machine's data have for them.

    A slab of the same thickness is the same slab, whatever it is called; one that the data do not have is made of
    unknown material.
    """
    beams = []
    for beam in plan.beams:
        shifter = beam.range_shifter
        if shifter is not None:
            known = machine.range_shifters
            near = [i for i, mm in known.items() if abs(mm - shifter.water_equivalent_mm) <= SHIFTER_TOLERANCE_MM]
            if not near:
                has = ", ".join(f"{i} ({mm:g} mm)" for i, mm in known.items()) or "none"
                raise unsupported(
                    f"beam {beam.number} has range shifter {shifter.id!r} of {shifter.water_equivalent_mm:g} mm of "
                    f"water; machine data {machine.name} have {has}",
                    "Name machine data that have the plan's range shifter.",
                )
            chosen = shifter.id if shifter.id in near else near[0]
            beam = dataclasses.replace(beam, range_shifter=dataclasses.replace(shifter, id=chosen))
        beams.append(beam)
    return dataclasses.replace(plan, beams=tuple(beams))

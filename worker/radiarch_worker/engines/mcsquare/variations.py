"""Machines as others are: spots of other widths, sources at other distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .files import invalid_output
from .machine import ProtonMachine

_SPOT_COLUMNS = 18
_SIZES = ((5, 7), (8, 10), (12, 14), (15, 17))
"""Columns of spot size and correlation: first Gaussian x, y, second Gaussian x, y."""


def with_spot_sizes(machine: ProtonMachine, sizes: Sequence[tuple[float, float, float]]) -> ProtonMachine:
    """A machine whose spots are as wide as another one's: size and divergence of the core are scaled alike.

    So the beam's shape along its way stays, and its width is the wanted one at the isocenter. The halo stays as it is:
    plans say nothing of it.

    Parameters
    ----------
    sizes : (energy in MeV, full width at half maximum in air at the isocenter along x and y in mm), rising energies
    """
    energies = [e for e, _, _ in sizes]
    ratios = []
    for axis in (0, 1):
        own = [machine.spot_fwhm_mm(e)[axis] for e in energies]
        wanted = [s[1 + axis] for s in sizes]
        found = np.array(wanted) / np.array(own)
        ratios.append(np.interp(machine.energies_mev, energies, found))
    head, title, table = machine.bdl_text.partition("NominalEnergy")
    if not title:
        raise invalid_output("the beam data library has no table of energies")
    names, *rows = table.splitlines()
    written = []
    for row in rows:
        values = row.split()
        if len(values) == _SPOT_COLUMNS:
            for ratio, (size, correlation) in zip(ratios, _SIZES[:2], strict=True):
                factor = float(np.interp(float(values[0]), machine.energies_mev, ratio))
                for column in range(size, correlation):  # size and divergence
                    values[column] = f"{float(values[column]) * factor:.9g}"
        elif values:
            raise invalid_output(f"a row of the beam data library has {len(values)} columns, expected {_SPOT_COLUMNS}")
        written.append(" ".join(values))
    text = head + title + names + "\n" + "\n".join(written) + "\n"
    return replace(machine, bdl_text=text, spot_sigma_mm=machine.spot_sigma_mm * np.stack(ratios, axis=1))


def with_source_distances(machine: ProtonMachine, distances_mm: tuple[float, float]) -> ProtonMachine:
    """A machine whose scanning magnets (virtual sources) are as far from the isocenter as another one's.

    Parameters
    ----------
    distances_mm : along the beam's x and y (IEC gantry), more than the nozzle's own distance
    """
    lines = machine.bdl_text.splitlines()
    for axis, distance_mm in zip("XY", distances_mm, strict=True):
        title = f"SM{axis} to Isocenter distance"
        if lines.count(title) != 1:
            raise invalid_output(f"the beam data library has no line {title!r}")
        lines[lines.index(title) + 1] = f"{distance_mm:.9g}"
    text = "\n".join(lines) + "\n"
    return replace(machine, bdl_text=text, smx_mm=distances_mm[0], smy_mm=distances_mm[1])


def blurred(machine: ProtonMachine, sigma_x_mm: float, sigma_y_mm: float) -> ProtonMachine:
    """A machine whose spots are as wide as many fractions with random setup errors make them.

    A shift of the patient across the beam moves every proton by the same, whatever its direction: the variance of the
    position grows by that of the shifts, and its covariance with the direction stays.

    Parameters
    ----------
    sigma_x_mm, sigma_y_mm : standard deviations along the beam's axes (IEC gantry)
    """
    if sigma_x_mm == 0.0 and sigma_y_mm == 0.0:
        return machine
    head, title, table = machine.bdl_text.partition("NominalEnergy")
    if not title:
        raise invalid_output("the beam data library has no table of energies")
    names, *rows = table.splitlines()
    written = []
    for row in rows:
        values = row.split()
        if len(values) == _SPOT_COLUMNS:
            for i, (size, correlation) in enumerate(_SIZES):
                old = float(values[size])
                new = math.hypot(old, sigma_y_mm if i % 2 else sigma_x_mm)
                values[size] = f"{new:.9g}"
                values[correlation] = f"{float(values[correlation]) * old / new if new else 0.0:.9g}"
        elif values:
            raise invalid_output(f"a row of the beam data library has {len(values)} columns, expected {_SPOT_COLUMNS}")
        written.append(" ".join(values))
    return replace(machine, bdl_text=head + title + names + "\n" + "\n".join(written) + "\n")

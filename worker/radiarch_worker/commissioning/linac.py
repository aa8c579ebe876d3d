"""Fits a linac's beam model to what was measured in water: spectrum, contamination, source, head scatter, horns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from radiarch_worker.engines.collapsedcone import Aperture, water_dose
from radiarch_worker.machines.photon_machine import Electrons, PhotonEnergy, PhotonMachineFile

from .measurements import Curve, Measurements, OutputFactors

FloatArray = npt.NDArray[np.float64]

_SPACING_MM = 3.0
_FINE_MM = 2.0
_NORMAL_MM = 100.0
_FROM_MM = 10.0
"""Depth from which depth doses are judged; shallower ones are of electrons and of the chamber's size."""
_FLAT_PART = 0.8
"""Share of half a field's width within which the profile tells the horns."""


@dataclass(frozen=True)
class Comparison:
    """One curve as measured and as the machine's file makes it.

    Attributes
    ----------
    measured, computed : both relative to the same point
    judged : which points the residual is of
    """

    title: str
    at: FloatArray
    unit: str
    measured: FloatArray
    computed: FloatArray
    judged: npt.NDArray[np.bool_]

    @property
    def residual(self) -> FloatArray:
        """Computed less measured, in percent of the point that both are relative to."""
        difference: FloatArray = 100.0 * (self.computed - self.measured)
        return difference

    @property
    def worst(self) -> float:
        return float(np.abs(self.residual[self.judged]).max())


@dataclass(frozen=True)
class Fit:
    """A fitted beam, and how it compares with each measurement."""

    energy: PhotonEnergy
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = field(default=())


def fit_energy(
    machine: PhotonMachineFile,
    start: PhotonEnergy,
    measured: Measurements,
    threads: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Fit:
    """Fit one beam.

    Parameters
    ----------
    start : what the fit begins with, and keeps where nothing was measured
    say : progress
    """
    beam = _Beam(machine, threads)
    notes: list[str] = []
    energy = start
    wide = [p for p in measured.profiles if min(p.field_mm) >= 200.0]
    narrow = [p for p in measured.profiles if 60.0 <= min(p.field_mm) <= 200.0]
    for turn in (1, 2) if wide or narrow or measured.output_factors else (1,):
        energy = _spectrum(beam, energy, measured.depth_doses)
        say(f"round {turn}: spectrum and contamination ({energy.electrons.share:.3f})")
        if wide:
            energy = _horns(beam, energy, max(wide, key=lambda p: min(p.field_mm)))
            say(f"round {turn}: horns")
        if measured.output_factors:
            energy = _head_scatter(beam, energy, measured.output_factors)
            say(f"round {turn}: head scatter {energy.extra_focal.share:.3f}")
        if narrow:
            energy = _source(beam, energy, narrow)
            say(f"round {turn}: source {energy.source_spot_mm[0]:.2f} x {energy.source_spot_mm[1]:.2f} mm")
    if not wide:
        notes.append("No profile of a field of 200 mm or more: horns are those of the machine that the fit began with.")
    if not measured.output_factors:
        notes.append("No output factors: head scatter is that of the machine that the fit began with.")
    if not narrow:
        notes.append(
            "No profile of a field of 60 to 200 mm: the source is that of the machine that the fit began with."
        )
    return Fit(energy, compare(beam.machine, energy, measured, threads), tuple(notes))


def compare(
    machine: PhotonMachineFile, energy: PhotonEnergy, measured: Measurements, threads: int = 1
) -> tuple[Comparison, ...]:
    """Each measurement beside what a beam makes of it."""
    beam = _Beam(machine, threads)
    found = [_depth_comparison(beam, energy, c) for c in measured.depth_doses]
    found += [_profile_comparison(beam, energy, p) for p in measured.profiles]
    for factors in measured.output_factors:
        computed = beam.output(energy, factors)
        found.append(
            Comparison(
                f"output factors, SSD {factors.ssd_mm:g} mm, depth {factors.depth_mm:g} mm",
                factors.side_mm,
                "side of the field, mm",
                factors.factor,
                computed,
                np.ones(len(computed), dtype=np.bool_),
            )
        )
    return tuple(found)


class _Beam:
    """Doses in water of one machine."""

    def __init__(self, machine: PhotonMachineFile, threads: int) -> None:
        self.machine, self.threads = machine, threads

    def depth_dose(self, energy: PhotonEnergy, curve: Curve) -> FloatArray:
        """At the depths of a curve, relative to that at 100 mm; at the same scale on the measured depths."""
        dose, depth = self._axis(energy, curve.field_mm, curve.ssd_mm, min(curve.at_mm[-1] + 20.0, 400.0))
        values: FloatArray = np.interp(curve.at_mm, depth, dose) / np.interp(_NORMAL_MM, depth, dose)
        return values

    def profile(self, energy: PhotonEnergy, curve: Curve) -> FloatArray:
        """At the positions of a profile, relative to the axis."""
        spacing = _FINE_MM if max(curve.field_mm) <= 150 else _SPACING_MM
        volume, grid = water_dose(
            self.machine,
            energy,
            _rectangle(curve.field_mm),
            curve.ssd_mm,
            curve.depth_mm + 60.0,
            spacing,
            self.threads,
        )
        along, across = (0, 1) if curve.along == "x" else (1, 0)
        plane = _at_depth(volume, grid.axis_mm(2), curve.depth_mm)
        middle = plane.shape[0 if across == 1 else 1] // 2
        line = plane[middle, :] if along == 0 else plane[:, middle]
        at = grid.axis_mm(along)
        values: FloatArray = np.interp(curve.at_mm, at, line) / np.interp(0.0, at, line)
        return values

    def output(self, energy: PhotonEnergy, factors: OutputFactors) -> FloatArray:
        doses = []
        for side in (*factors.side_mm, 100.0):
            dose, depth = self._axis(energy, (side, side), factors.ssd_mm, factors.depth_mm + 60.0)
            doses.append(float(np.interp(factors.depth_mm, depth, dose)))
        values: FloatArray = np.array(doses[:-1]) / doses[-1]
        return values

    def _axis(
        self, energy: PhotonEnergy, field_mm: tuple[float, float], ssd_mm: float, depth_mm: float
    ) -> tuple[FloatArray, FloatArray]:
        volume, grid = water_dose(
            self.machine, energy, _rectangle(field_mm), ssd_mm, depth_mm, _SPACING_MM, self.threads
        )
        axis = volume[:, grid.shape[1] // 2, grid.shape[2] // 2].astype(np.float64)
        return axis[::-1], -grid.axis_mm(2)[::-1]


def _rectangle(field_mm: tuple[float, float]) -> Aperture:
    x, y = field_mm[0] / 2, field_mm[1] / 2
    return Aperture(None, (-x, x), (-y, y))


def _at_depth(volume: npt.NDArray[np.float32], z_mm: FloatArray, depth_mm: float) -> FloatArray:
    at = float(np.interp(-depth_mm, z_mm, np.arange(len(z_mm))))
    low = min(int(at), len(z_mm) - 2)
    plane: FloatArray = volume[low] * (1 - (at - low)) + volume[low + 1] * (at - low)
    return plane


def _relative(curve: Curve) -> FloatArray:
    values: FloatArray = curve.dose / np.interp(_NORMAL_MM, curve.at_mm, curve.dose)
    return values


def _spectrum(beam: _Beam, start: PhotonEnergy, curves: tuple[Curve, ...]) -> PhotonEnergy:
    """Number of photons times E^p, and contamination, so that depth doses fit from 5 mm on."""
    energies = np.array([e for e, _ in start.spectrum])
    photons = np.array([n for _, n in start.spectrum])

    def made(parameters: FloatArray) -> PhotonEnergy:
        changed = photons * energies ** parameters[0]
        spectrum = tuple((float(e), float(n)) for e, n in zip(energies, changed / changed.sum(), strict=True))
        electrons = start.electrons.model_copy(update={"share": float(parameters[1])})
        return start.model_copy(update={"spectrum": spectrum, "electrons": electrons})

    def residuals(parameters: FloatArray) -> FloatArray:
        energy = made(parameters)
        parts = []
        for curve in curves:
            used = (curve.at_mm >= _FROM_MM) & (curve.at_mm <= 300.0)
            every = max(1, int(used.sum()) // 60)
            parts.append((beam.depth_dose(energy, curve) - _relative(curve))[used][::every])
        return np.concatenate(parts)

    begin = np.array([0.0, start.electrons.share])
    found = least_squares(
        residuals, begin, bounds=([-1.0, 0.0], [1.0, 0.5]), diff_step=[0.05, 0.1], x_scale=[0.1, 0.05], max_nfev=6
    )
    return _rounded(made(found.x))


def _rounded(energy: PhotonEnergy) -> PhotonEnergy:
    given = energy.electrons
    electrons = Electrons(share=round(given.share, 4), decay_mm=given.decay_mm, sigma_mm=given.sigma_mm)
    return energy.model_copy(
        update={"electrons": electrons, "spectrum": tuple((e, round(n, 5)) for e, n in energy.spectrum)}
    )


def _horns(beam: _Beam, start: PhotonEnergy, curve: Curve) -> PhotonEnergy:
    """The off-axis table times measured / computed, within the flat part of the field; both sides in one."""
    computed, scale = beam.profile(start, curve), _scale(start, beam.machine, curve)
    half = min(curve.field_mm) / 2
    measured = curve.dose / np.interp(0.0, curve.at_mm, curve.dose)
    radius = np.abs(curve.at_mm) / scale
    table = []
    for r, factor in start.off_axis:
        near = np.abs(radius - min(r, _FLAT_PART * half)) <= 8.0
        ratio = float(np.mean(measured[near]) / np.mean(computed[near])) if near.any() else 1.0
        table.append((r, round(factor * ratio, 4)))
    table[0] = (0.0, 1.0)
    return start.model_copy(update={"off_axis": tuple(table)})


def _scale(energy: PhotonEnergy, machine: PhotonMachineFile, curve: Curve) -> float:
    return (curve.ssd_mm + curve.depth_mm) / machine.source_axis_distance_mm


def _head_scatter(beam: _Beam, start: PhotonEnergy, factors: tuple[OutputFactors, ...]) -> PhotonEnergy:
    def made(share: float) -> PhotonEnergy:
        extra = start.extra_focal.model_copy(update={"share": round(share, 4)})
        return start.model_copy(update={"extra_focal": extra})

    def residuals(parameters: FloatArray) -> FloatArray:
        energy = made(float(parameters[0]))
        return np.concatenate([beam.output(energy, f) - f.factor for f in factors])

    found = least_squares(residuals, [start.extra_focal.share], bounds=([0.0], [0.3]), diff_step=[0.2], max_nfev=4)
    return made(float(found.x[0]))


def penumbra_mm(at_mm: FloatArray, dose: FloatArray) -> float:
    """Mean distance from 80 to 20 % of the dose on the axis, of both sides."""
    relative = dose / np.interp(0.0, at_mm, dose)
    widths = []
    for side in (1.0, -1.0):
        x, d = side * at_mm[side * at_mm > 0], relative[side * at_mm > 0]
        order = np.argsort(x)
        x, d = x[order], d[order]
        ends = [float(x[np.flatnonzero(d >= level)[-1]]) for level in (0.8, 0.2)]
        exact = []
        for level, end in zip((0.8, 0.2), ends, strict=True):
            n = int(np.searchsorted(x, end))
            if n + 1 >= len(x):
                return float("nan")
            exact.append(x[n] + (d[n] - level) / (d[n] - d[n + 1]) * (x[n + 1] - x[n]))
        widths.append(exact[1] - exact[0])
    return float(np.mean(widths))


def _source(beam: _Beam, start: PhotonEnergy, profiles: list[Curve]) -> PhotonEnergy:
    """The source's width so that penumbras are as wide as measured; an axis without profile gets the other's."""
    found: dict[str, float] = {}
    for along in ("x", "y"):
        chosen = [p for p in profiles if p.along == along]
        if not chosen:
            continue
        wanted = float(np.nanmean([penumbra_mm(p.at_mm, p.dose) for p in chosen]))
        low, high = 0.2, 4.0
        for _ in range(6):
            middle = (low + high) / 2
            tried = start.model_copy(update={"source_spot_mm": (middle, middle)})
            width = float(np.mean([penumbra_mm(p.at_mm, beam.profile(tried, p)) for p in chosen]))
            low, high = (middle, high) if width < wanted else (low, middle)
        found[along] = round((low + high) / 2, 2)
    x = found.get("x", found.get("y", start.source_spot_mm[0]))
    return start.model_copy(update={"source_spot_mm": (x, found.get("y", x))})


def _depth_comparison(beam: _Beam, energy: PhotonEnergy, curve: Curve) -> Comparison:
    computed, measured = beam.depth_dose(energy, curve), _relative(curve)
    most = measured.max()
    return Comparison(
        f"depth dose {curve.field_mm[0]:g} x {curve.field_mm[1]:g} mm, SSD {curve.ssd_mm:g} mm",
        curve.at_mm,
        "depth, mm",
        measured / most,
        computed / most,
        curve.at_mm >= _FROM_MM,
    )


def _profile_comparison(beam: _Beam, energy: PhotonEnergy, curve: Curve) -> Comparison:
    measured = curve.dose / np.interp(0.0, curve.at_mm, curve.dose)
    edge = curve.field_mm[0 if curve.along == "x" else 1] / 2 * _scale(energy, beam.machine, curve)
    return Comparison(
        f"profile along {curve.along}, {curve.field_mm[0]:g} x {curve.field_mm[1]:g} mm, depth {curve.depth_mm:g} mm",
        curve.at_mm,
        f"{curve.along}, mm",
        measured,
        beam.profile(energy, curve),
        np.abs(np.abs(curve.at_mm) - edge) > 8.0,
    )

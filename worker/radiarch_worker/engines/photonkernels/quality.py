"""A spectrum on the energies of the kernels: what it releases at a depth in water, hardened, and the kernel of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .kernels import PointKernels, point_kernels

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Photons of a beam in air: relative numbers at energies that rise."""

    energies_mev: tuple[float, ...]
    photons: tuple[float, ...]


@dataclass(frozen=True)
class BeamQuality:
    """A spectrum on the energies of the kernels; arrays are read-only.

    Attributes
    ----------
    kernels : the mono-energetic ones
    energy_fluence : (E,) share of the energy fluence in air, sum 1
    """

    kernels: PointKernels
    energy_fluence: FloatArray

    def terma_cm2_g(self, depth_g_cm2: npt.ArrayLike) -> FloatArray:
        """Energy released at a depth in water, in g⁻¹ for one unit of energy fluence (cm⁻²) at depth 0.

        Parameters
        ----------
        depth_g_cm2 : (...) thickness times density
        """
        released: FloatArray = self.spectral_terma(depth_g_cm2).sum(axis=-1)
        return released

    def spectral_terma(self, depth_g_cm2: npt.ArrayLike) -> FloatArray:
        """(..., E) the same by energy."""
        depth = np.asarray(depth_g_cm2, dtype=np.float64)[..., None]
        attenuation = self.kernels.attenuation_cm2_g
        released: FloatArray = self.energy_fluence * attenuation * np.exp(-attenuation * depth)
        return released

    def kernel(self, depth_g_cm2: float = 0.0) -> FloatArray:
        """(A, R) share of what is released at a depth that stays in each cone and shell."""
        return self._mean(self.kernels.total, depth_g_cm2)

    def primary_kernel(self, depth_g_cm2: float = 0.0) -> FloatArray:
        """(A, R) the part of `kernel` that electrons of the first interaction bring."""
        return self._mean(self.kernels.primary, depth_g_cm2)

    def _mean(self, kernels: FloatArray, depth_g_cm2: float) -> FloatArray:
        released = self.spectral_terma(depth_g_cm2)
        mean: FloatArray = np.tensordot(released / released.sum(), kernels, 1)
        return mean


def beam_quality(spectrum: Spectrum, kernels: PointKernels | None = None) -> BeamQuality:
    """Put a spectrum on the kernels' energies: photons between two of them are shared out, number and energy kept.

    Energies below the lowest or above the highest kernel count as that one.

    Examples
    --------
    >>> quality = beam_quality(Spectrum((1.0, 3.0), (1.0, 1.0)))
    >>> quality.energy_fluence[quality.energy_fluence > 0].tolist()  # by energy, not by number
    [0.25, 0.75]
    """
    kernels = kernels or point_kernels()
    energies = kernels.energies_mev
    at = np.clip(np.asarray(spectrum.energies_mev, dtype=np.float64), energies[0], energies[-1])
    low = np.clip(np.searchsorted(energies, at, side="right") - 1, 0, len(energies) - 2)
    upper = (at - energies[low]) / (energies[low + 1] - energies[low])
    photons = np.zeros(len(energies))
    np.add.at(photons, low, np.asarray(spectrum.photons) * (1 - upper))
    np.add.at(photons, low + 1, np.asarray(spectrum.photons) * upper)
    fluence = photons * energies
    fluence /= fluence.sum()
    fluence.setflags(write=False)
    return BeamQuality(kernels, fluence)


def shipped_spectrum(kernels: PointKernels | None = None) -> Spectrum:
    """The spectrum of 6 MV that ships beside the kernels."""
    kernels = kernels or point_kernels()
    return Spectrum(tuple(map(float, kernels.energies_mev)), tuple(map(float, kernels.photons)))


def power_spectrum(exponent: float, falloff_per_mev: float, energies_mev: Sequence[float]) -> Spectrum:
    """Photons E^exponent exp(-falloff E) for each MeV, as numbers in the bins about rising energies."""
    energies = np.asarray(energies_mev, dtype=np.float64)
    edges = np.concatenate(([energies[0]], (energies[1:] + energies[:-1]) / 2, [energies[-1]]))
    photons = energies**exponent * np.exp(-falloff_per_mev * energies) * np.diff(edges)
    return Spectrum(tuple(map(float, energies)), tuple(map(float, photons / photons.sum())))

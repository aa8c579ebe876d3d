"""Point kernels of photons in water that opentps-core ships, and what spectra make of them; no dose is made here."""

from .kernels import PointKernels, point_kernels
from .quality import BeamQuality, Spectrum, beam_quality, power_spectrum, shipped_spectrum

__all__ = [
    "BeamQuality",
    "PointKernels",
    "Spectrum",
    "beam_quality",
    "point_kernels",
    "power_spectrum",
    "shipped_spectrum",
]

"""Photon dose for optimization, and its exact transpose: pencil beams convolved with fluence, no matrix is stored."""

from .beams import BeamView, FluenceGrid, PencilBeams, PencilModel
from .kernel import DepthTerms, depth_terms, pencil_kernel

__all__ = [
    "BeamView",
    "DepthTerms",
    "FluenceGrid",
    "PencilBeams",
    "PencilModel",
    "depth_terms",
    "pencil_kernel",
]

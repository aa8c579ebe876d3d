"""RT Plan Storage (PS3.3 A.20): photon beams with apertures."""

from .sop import RTPhotonPlan

__all__ = ["RTPhotonPlan"]

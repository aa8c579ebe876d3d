"""From DICOM to the patient that is planned on: coordinates are settled here, once; nothing of dose lives here."""

from .loading import load_patient
from .series import ct_used

__all__ = ["ct_used", "load_patient"]

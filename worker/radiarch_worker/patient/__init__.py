"""From DICOM to the patient that is planned on: coordinates are settled here, once; nothing of dose lives here."""

from .loading import load_patient

__all__ = ["load_patient"]

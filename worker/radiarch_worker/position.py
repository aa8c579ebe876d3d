"""How a patient lies: Patient Position (0018,5100) as a rotation between IEC 61217 and patient LPS; settled here alone.

Beams have angles of the machine, images and isocenters have coordinates of the patient. DICOM's terms say which way
the patient's head and front point in the room (PS3.3 C.7.3.1.1.2); everything else follows from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Directions = npt.NDArray[np.int8]
"""(3, 3): directions as columns, each along one axis."""


class PatientPosition(StrEnum):
    """Patient Position (0018,5100) of patients who lie on a table along the machine's axis."""

    HFS = "HFS"  # head first, supine
    HFP = "HFP"  # prone
    HFDR = "HFDR"  # decubitus right: the right side is down
    HFDL = "HFDL"
    FFS = "FFS"  # feet first
    FFP = "FFP"
    FFDR = "FFDR"
    FFDL = "FFDL"


# in patient LPS: x to the left, y to the back, z to the head
_LEFT, _BACK, _HEAD = np.eye(3, dtype=np.int8)
_TOWARDS_GANTRY: Mapping[str, Directions] = {"HF": _HEAD, "FF": -_HEAD}
_UP: Mapping[str, Directions] = {"S": -_BACK, "P": _BACK, "DR": _LEFT, "DL": -_LEFT}


def support_axes(position: PatientPosition) -> Directions:
    """Axes of the IEC 61217 patient support system in patient LPS, as columns X, Y, Z.

    With the couch at 0°, Y points to the gantry, Z up, and X to the right of one who faces the gantry.

    Examples
    --------
    >>> support_axes(PatientPosition.HFS)[:, 0].tolist()  # X is the patient's left
    [1, 0, 0]
    >>> support_axes(PatientPosition.FFS)[:, 0].tolist()
    [-1, 0, 0]
    """
    y, z = _TOWARDS_GANTRY[position[:2]], _UP[position[2:]]
    return np.stack([np.cross(y, z).astype(np.int8), y, z], axis=1)

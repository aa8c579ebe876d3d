"""A phantom that lies otherwise on the table: the same things in the same places of the room, other patient axes.

Written from the standard's words (DICOM PS3.3 C.7.3.1.1.2, IEC 61217) and nothing of Radiarch's, so that tests of
patient positions have something to go by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from .study import PhantomStudy

_LPS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
ROOM: Mapping[str, str] = {
    # which way of the patient points along the room's X (to the right of one who faces the gantry), Y (to the gantry),
    # Z (up)
    "HFS": "LHA",
    "HFP": "RHP",
    "HFDR": "PHL",  # the right side is down
    "HFDL": "AHR",
    "FFS": "RFA",
    "FFP": "LFP",
    "FFDR": "AFL",
    "FFDL": "PFR",
}
POSITIONS = tuple(ROOM)


def room_axes(position: str) -> npt.NDArray[np.int64]:
    """(3, 3) with the room's X, Y, Z in patient LPS as columns, for a couch at 0°."""
    return np.array([_LPS[letter] for letter in ROOM[position]]).T


def from_supine(position: str) -> npt.NDArray[np.int64]:
    """(3, 3) that takes patient LPS, head first supine, to the LPS of who lies otherwise in the same place."""
    return room_axes(position) @ room_axes("HFS").T


def lying(study: PhantomStudy, position: str) -> PhantomStudy:
    """A phantom of head first supine as a scanner would store it of a patient who lies otherwise.

    Pixels stay as they are: a scanner stores what it sees in the room. Shapes are those of the patient head first
    supine.
    """
    turn = from_supine(position)
    other = study.copy()
    for image in other.images:
        image.PatientPosition = position
        image.ImagePositionPatient = _turned(turn, image.ImagePositionPatient)
        image.ImageOrientationPatient = _turned(turn, image.ImageOrientationPatient)
    for roi in other.rtstruct.ROIContourSequence:
        for contour in roi.ContourSequence:
            contour.ContourData = _turned(turn, contour.ContourData)
    return other


def gantry_axes(gantry_deg: float, couch_deg: float, position: str) -> npt.NDArray[np.float64]:
    """(3, 3) with the IEC 61217 gantry system's X, Y, Z in patient LPS as columns; from the standard's definitions.

    The gantry turns about the fixed Y clockwise, as seen by one who faces it; the patient support turns about the fixed
    Z counter-clockwise, as seen from above.
    """
    g, c = math.radians(gantry_deg), math.radians(couch_deg)
    gantry_in_fixed = np.array([[math.cos(g), 0, math.sin(g)], [0, 1, 0], [-math.sin(g), 0, math.cos(g)]])
    support_in_fixed = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    found: npt.NDArray[np.float64] = room_axes(position) @ support_in_fixed.T @ gantry_in_fixed
    return found


def setup(plan: Dataset) -> Mapping[int, str]:
    """Patient Position of each beam of an RT (Ion) Plan, by Beam Number."""
    positions = {int(s.PatientSetupNumber): str(s.PatientPosition) for s in plan.PatientSetupSequence}
    return {int(b.BeamNumber): positions[int(b.ReferencedPatientSetupNumber)] for b in plan.IonBeamSequence}


def _turned(turn: npt.NDArray[np.int64], values: object) -> list[float]:
    points = np.array(values, dtype=float).reshape(-1, 3)
    return [float(v) for v in (points @ turn.T + 0.0).ravel()]

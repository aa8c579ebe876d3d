"""Sessions: DICOM that is uploaded for planning once, private to its owner, and gone after its time to live.

Each session is a folder with a database of its own. Isolation is by construction: what lists, counts, searches or
serves plans in Orthanc's name reads another database.
"""

from .limits import MAX_INSTANCE_BYTES, MAX_UPLOAD_BYTES
from .registry import FOLDER_NAME, Sessions
from .session import Session, unknown_session

__all__ = [
    "FOLDER_NAME",
    "MAX_INSTANCE_BYTES",
    "MAX_UPLOAD_BYTES",
    "Session",
    "Sessions",
    "unknown_session",
]

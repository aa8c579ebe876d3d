"""The one exception tree, and its form on the wire; nothing that raises lives here.

::

    RadiarchError
    ├── InvalidRequestError      the request or protocol itself is wrong (4xx)
    │   └── NotFoundError        it names something that does not exist
    ├── ConflictError            not possible in the present state
    ├── InputRefusedError        the patient's data cannot be planned truthfully
    ├── EngineError              a dose engine is missing, failed or gave nonsense
    └── ServiceError             Orthanc, Redis, disk or time ran out: worth another try
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class ErrorCode(StrEnum):
    """Every code a user can meet, the same in REST, logs, pages and clients."""

    # the request
    INVALID_REQUEST = "invalid_request"
    INVALID_PROTOCOL = "invalid_protocol"
    INVALID_MACHINE_DATA = "invalid_machine_data"  # a file of the site's machines or calibrations
    UNKNOWN_WORKFLOW = "unknown_workflow"
    UNKNOWN_PROTOCOL = "unknown_protocol"
    UNKNOWN_STRUCTURE = "unknown_structure"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"  # another site's page, or a host that this server is not known by
    # what arrived
    NO_PROTOCOL = "no_protocol"
    NO_TARGET = "no_target"
    NO_BODY = "no_body"
    AMBIGUOUS_STRUCTURE = "ambiguous_structure"  # several ROIs, or contours, that a name or a slice could stand for
    EMPTY_STRUCTURE = "empty_structure"
    INCOMPLETE_STRUCTURE = "incomplete_structure"  # slices between its ends have no contour
    STRUCTURE_OUTSIDE_IMAGE = "structure_outside_image"
    UNREADABLE_RTSTRUCT = "unreadable_rtstruct"
    UNREADABLE_IMAGE = "unreadable_image"
    UNREADABLE_RTDOSE = "unreadable_rtdose"
    UNREADABLE_RTPLAN = "unreadable_rtplan"
    UNSUPPORTED_DOSE = "unsupported_dose"
    UNSUPPORTED_PLAN = "unsupported_plan"
    NO_IMAGE_REFERENCE = "no_image_reference"
    MISSING_INSTANCES = "missing_instances"
    AMBIGUOUS_INSTANCES = "ambiguous_instances"  # one SOP Instance UID, several objects
    NOT_CT = "not_ct"
    PATIENT_MISMATCH = "patient_mismatch"
    FRAME_OF_REFERENCE_MISMATCH = "frame_of_reference_mismatch"
    UNSUPPORTED_GEOMETRY = "unsupported_geometry"
    UNSUPPORTED_PATIENT_POSITION = "unsupported_patient_position"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    NON_UNIFORM_SLICES = "non_uniform_slices"
    DUPLICATE_SLICES = "duplicate_slices"
    AMBIGUOUS_CALIBRATION = "ambiguous_calibration"  # several fit the CT's scanner, or it has several scanners
    HU_OUT_OF_CALIBRATION = "hu_out_of_calibration"
    TARGET_OUT_OF_RANGE = "target_out_of_range"
    TARGET_WITHOUT_DOSE_VOXELS = "target_without_dose_voxels"  # too small for the dose grid
    INPUT_CHANGED = "input_changed"
    # engines
    ENGINE_MISSING = "engine_missing"
    ENGINE_FAILED = "engine_failed"
    ENGINE_OUTPUT_INVALID = "engine_output_invalid"
    OPTIMIZATION_FAILED = "optimization_failed"
    # the service
    ORTHANC_UNAVAILABLE = "orthanc_unavailable"
    STORE_FAILED = "store_failed"
    QUEUE_UNAVAILABLE = "queue_unavailable"
    OUTPUTS_MISSING = "outputs_missing"  # what an attempt stored is no longer in Orthanc
    WORKER_LOST = "worker_lost"
    TIME_LIMIT = "time_limit"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    VERSION_MISMATCH = "version_mismatch"  # plugin and worker are of different minor versions
    NOT_READY = "not_ready"
    INTERNAL = "internal"


class ErrorInfo(BaseModel):
    """An error as JSON: ``{code, message, remedy, details}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: ErrorCode
    message: str = Field(description="What was found and what was expected.")
    remedy: str = Field(description="What to do about it.")
    details: dict[str, Any] = Field(default_factory=dict)


class RadiarchError(Exception):
    """Base of all errors that a user can meet.

    Parameters
    ----------
    message
        What was found and what was expected; UIDs, tags and ROI names, never a patient's name.
    remedy
        What the user can do about it.
    code
        One of `ErrorCode`; each class has a default.
    details
        JSON-able facts for machines.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    retryable: ClassVar[bool] = False
    """True where the same job may succeed when tried again unchanged."""

    def __init__(
        self,
        message: str,
        *,
        remedy: str,
        code: ErrorCode | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.info = ErrorInfo(code=code or self.default_code, message=message, remedy=remedy, details=details)

    @property
    def code(self) -> ErrorCode:
        return self.info.code


class InvalidRequestError(RadiarchError):
    """The request or protocol is wrong in itself."""

    default_code = ErrorCode.INVALID_REQUEST


class NotFoundError(InvalidRequestError):
    """The request names something that does not exist."""

    default_code = ErrorCode.NOT_FOUND


class ConflictError(RadiarchError):
    """The request is right but not possible in the present state."""

    default_code = ErrorCode.CONFLICT


class InputRefusedError(RadiarchError):
    """The patient's data cannot be planned truthfully."""

    default_code = ErrorCode.UNSUPPORTED_GEOMETRY


class EngineError(RadiarchError):
    """A dose engine is missing, failed, or gave output that cannot be right."""

    default_code = ErrorCode.ENGINE_FAILED


class ServiceError(RadiarchError):
    """A part of the service is not reachable or time ran out; another try may succeed."""

    default_code = ErrorCode.INTERNAL
    retryable = True

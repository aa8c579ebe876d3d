"""Typed clients of a Radiarch server: `Radiarch` blocks, `AsyncRadiarch` does not; both do the same.

Errors are those of `radiarch_contract.errors`, rebuilt by their code.
"""

from radiarch_contract.errors import (
    ConflictError,
    EngineError,
    ErrorCode,
    InputRefusedError,
    InvalidRequestError,
    NotFoundError,
    RadiarchError,
    ServiceError,
)

from . import models
from ._client import AsyncOrthanc, AsyncRadiarch, Orthanc, Radiarch
from ._config import Settings, load_settings
from ._drivers import Retry
from ._session import AsyncSession, Session

__all__ = [
    "AsyncOrthanc",
    "AsyncRadiarch",
    "AsyncSession",
    "ConflictError",
    "EngineError",
    "ErrorCode",
    "InputRefusedError",
    "InvalidRequestError",
    "NotFoundError",
    "Orthanc",
    "Radiarch",
    "RadiarchError",
    "Retry",
    "ServiceError",
    "Session",
    "Settings",
    "load_settings",
    "models",
]

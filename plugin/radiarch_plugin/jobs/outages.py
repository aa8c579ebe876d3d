"""The error for a database or a Redis that does not answer; other errors are described where they occur."""

from __future__ import annotations

from radiarch_contract.errors import ErrorCode, ErrorInfo, ServiceError
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError


def queue_outage(error: RedisError) -> ServiceError:
    """``queue_unavailable``"""
    return ServiceError(
        f"Redis does not answer as it should ({type(error).__name__})",
        remedy="Start Redis, or correct Radiarch.RedisUrl; nothing is lost meanwhile.",
        code=ErrorCode.QUEUE_UNAVAILABLE,
    )


def database_outage(error: DBAPIError) -> ServiceError:
    """``not_ready``; of the driver's error only the type is named: its text quotes what was to be written."""
    return ServiceError(
        f"the database does not answer as it should ({type(error.orig).__name__})",
        remedy="See that it runs and that its disk is not full; nothing is lost meanwhile.",
        code=ErrorCode.NOT_READY,
    )


def outage(error: Exception) -> ErrorInfo | None:
    """None where the error is something else."""
    if isinstance(error, RedisError):
        return queue_outage(error).info
    if isinstance(error, DBAPIError):
        return database_outage(error).info
    return None

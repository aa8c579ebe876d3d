"""Bounds of sessions, as section ``Radiarch.Sessions`` of Orthanc's configuration sets them; checking is not here."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_pascal
from radiarch_contract.strict import Strict

MB = 1 << 20
MAX_UPLOAD_BYTES = 128 * MB
"""Of one request: Orthanc holds a body whole, and beyond some 100 MB takes far more than its share of time for it."""
MAX_INSTANCE_BYTES = 256 * MB
"""Of one object, unpacked; workers read no larger ones."""


class SessionSettings(Strict):
    """What all sessions together, and each of them, may take."""

    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True)

    enabled: bool = True
    folder: str = Field(default="", description="Empty: radiarch-sessions in Orthanc's storage folder.")
    default_ttl_s: float = Field(default=4 * 3600.0, ge=1)
    max_ttl_s: float = Field(default=24 * 3600.0, ge=1, le=30 * 24 * 3600)
    max_sessions: int = Field(default=20, ge=1, le=1000)
    max_sessions_per_user: int = Field(default=5, ge=1, le=1000, description="Where Orthanc knows its users.")
    max_plans: int = Field(default=50, ge=1, le=1000, description="Of one session.")
    max_instances: int = Field(default=5_000, ge=1, le=50_000, description="Of one session, results not counted.")
    max_megabytes: int = Field(default=2_048, ge=1, description="Of one session, results not counted.")
    max_total_megabytes: int = Field(default=20_480, ge=1, description="Of all sessions, results and all.")
    min_free_megabytes: int = Field(default=1_024, ge=0, description="Left free on the disk of the folder.")

    @model_validator(mode="after")
    def _default_fits(self) -> SessionSettings:
        if self.default_ttl_s > self.max_ttl_s:
            raise ValueError("DefaultTtlS is longer than MaxTtlS")
        return self

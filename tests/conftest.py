"""For all tests: properties are not timed, since a busy machine proves nothing; timings live in ``benchmarks``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("radiarch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("radiarch")

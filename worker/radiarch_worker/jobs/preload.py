"""Loads, before any job, the modules, tables and compiled code that jobs need; what a job does is not known here."""

from __future__ import annotations

import gc
import logging
import os
from importlib import import_module
from pathlib import Path

log = logging.getLogger("radiarch.worker")

PRELOADED: tuple[str, ...] = (
    *("numpy", "scipy.sparse", "scipy.ndimage", "pydicom", "httpx", "numba", "highdicom"),
    *(f"radiarch_worker.{name}" for name in ("patient", "planning", "evaluation", "dicom", "report")),
    *(f"radiarch_worker.jobs.{name}" for name in ("attempt", "plan", "evaluation", "recalculation")),
)


def preload(threads: int, cache: Path) -> None:
    """Load once what every job needs; forked jobs have it. The probe of the engines reports what is missing.

    Parameters
    ----------
    threads
        What a job may use.
    cache
        The worker's own folder; numba keeps compiled code there.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache / "numba"))
    os.environ.pop("RADIARCH_ORTHANC_PASSWORD", None)  # engines inherit the environment
    os.environ.pop("RADIARCH_REDIS_URL", None)
    try:
        for name in PRELOADED:
            import_module(name)
        if PRELOADED:
            _load_tables()
            _warm_up()
        gc.freeze()  # a job's first collection would else copy every page that it shares with us
    except Exception as e:  # it will be raised again where it can be reported
        log.warning("not everything could be loaded: %s: %s", type(e).__name__, e)


def _load_tables() -> None:
    """OpenTPS takes seconds to import, highdicom to read the standard's tables; both keep them."""
    from highdicom.base import SOPClass
    from pydicom.uid import ImplicitVRLittleEndian, RTIonPlanStorage

    from radiarch_worker.engines.mcsquare import load_calibration
    from radiarch_worker.machines.calibration import GENERIC

    # highdicom reads its tables for the first object
    SOPClass("2.25.1", "2.25.2", 1, "2.25.3", RTIonPlanStorage, 1, "RTPLAN", "Radiarch", ImplicitVRLittleEndian)
    assert load_calibration(GENERIC).sha256  # and its materials


def _warm_up() -> None:
    from radiarch_worker.planning import MODALITIES

    for modality in MODALITIES.values():
        modality.warm_up()

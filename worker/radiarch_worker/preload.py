"""Loads, before any job, the modules and tables that every job needs; what a job does is not known here."""

from __future__ import annotations

import gc
import logging
import os
from importlib import import_module
from pathlib import Path

from radiarch_contract.workflows import ProtonParameters

log = logging.getLogger("radiarch.worker")

PRELOADED: tuple[str, ...] = (
    *("numpy", "scipy.sparse", "scipy.ndimage", "pydicom", "httpx", "numba", "highdicom"),
    *(f"radiarch_worker.{name}" for name in ("job", "patient", "planning", "evaluation", "dicom", "report")),
)


def preload(threads: int, cache: Path) -> None:
    """Load once what every job needs; forked jobs have it. What is missing is told by the probe of the engines.

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
        gc.freeze()  # a job's first collection would else copy every page that it shares with us
    except Exception as e:  # whatever it is, it will be met again where it can be told
        log.warning("not everything could be loaded: %s: %s", type(e).__name__, e)


def _load_tables() -> None:
    """OpenTPS takes seconds to import and to read its tables, highdicom to read the standard's; both keep them."""
    from highdicom._standard_utils import is_attribute_in_iod
    from pydicom.uid import RTIonPlanStorage

    from .engines.mcsquare.machine import load_calibration, load_machine

    is_attribute_in_iod("PatientName", RTIonPlanStorage)

    defaults = ProtonParameters()
    load_machine(defaults.machine)
    load_calibration(defaults.ct_calibration)

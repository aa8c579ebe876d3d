"""Loads, before any job, the modules, tables and compiled code that jobs need; what a job does is not known here."""

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
            _load_compiled()
        gc.freeze()  # a job's first collection would else copy every page that it shares with us
    except Exception as e:  # it will be raised again where it can be reported
        log.warning("not everything could be loaded: %s: %s", type(e).__name__, e)


def _load_tables() -> None:
    """OpenTPS takes seconds to import and to read its tables, highdicom to read the standard's; both keep them."""
    from highdicom.base import SOPClass
    from pydicom.uid import ImplicitVRLittleEndian, RTIonPlanStorage

    from radiarch_worker.engines.mcsquare import load_calibration, load_machine
    from radiarch_worker.machines.calibration import GENERIC

    # highdicom reads its tables for the first object
    SOPClass("2.25.1", "2.25.2", 1, "2.25.3", RTIonPlanStorage, 1, "RTPLAN", "Radiarch", ImplicitVRLittleEndian)

    defaults = ProtonParameters()
    load_machine(defaults.machine)
    assert load_calibration(GENERIC).sha256  # and its materials


def _load_compiled() -> None:
    """Run compiled code once on next to nothing: numba needs as long to get ready as ten iterations."""
    import numpy as np
    import scipy.sparse

    from radiarch_worker.engines.collapsedcone import gy_per_mu
    from radiarch_worker.machines.photon_machine import GENERIC_LINAC, photon_machine
    from radiarch_worker.model import Grid
    from radiarch_worker.optimization.products import SpotProducts, column_norms, keep_rows
    from radiarch_worker.planning.raytrace import depth_to_points, target_parts

    ones = np.ones(2, dtype=np.float32)
    both = np.ones(2, dtype=np.bool_)
    for writeable in (True, False):  # what is mapped from the cache's files is another type to numba
        matrix = scipy.sparse.csc_matrix(np.ones((2, 2), dtype=np.float32))
        for array in (matrix.data, matrix.indices, matrix.indptr):
            array.setflags(write=writeable)
        products = SpotProducts(matrix, np.arange(2))
        products.gradient(products.dose(ones))
        column_norms(matrix, both)
        keep_rows(matrix, both)
    grid = Grid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 2, 2))
    volume = np.ones(grid.shape, dtype=np.float32)
    corners = np.zeros(3), np.ones(3)
    depth_to_points(volume, volume > 0, grid, corners, np.zeros((1, 3)), np.array([1.0, 0.0, 0.0]))
    target_parts(volume, volume > 0, grid, np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0]]))
    linac = photon_machine(GENERIC_LINAC).file
    assert gy_per_mu(linac, linac.energies[0], 3.0) > 0

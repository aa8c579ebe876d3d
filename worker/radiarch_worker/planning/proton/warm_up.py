"""What protons need before a job can be quick: beam data, and compiled code run once on next to nothing."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from radiarch_contract.workflows import ProtonParameters

from radiarch_worker.engines.mcsquare import load_machine
from radiarch_worker.model import Grid
from radiarch_worker.optimization.products import SpotProducts, column_norms, keep_rows
from radiarch_worker.planning.raytrace import depth_to_points, target_parts


def warm_up() -> None:
    """Numba needs as long to get ready as ten iterations take, and OpenTPS seconds to read its tables."""
    load_machine(ProtonParameters().machine)
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

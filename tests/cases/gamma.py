"""Gamma by pymedphys, as a program of its own: ``python -m tests.cases.gamma IN.npz`` prints JSON.

pymedphys replaces modules by lazy ones when it is imported, which other libraries in the same process stumble over.
IN.npz holds ``z_mm``, ``y_mm``, ``x_mm``, ``reference_gy`` and ``evaluated_gy``, (Z, Y, X). 2 %/2 mm, global, above
10 %.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pymedphys


def main(path: str) -> None:
    given = np.load(path)
    axes = (given["z_mm"], given["y_mm"], given["x_mm"])
    gamma = pymedphys.gamma(
        axes,
        given["reference_gy"],
        axes,
        given["evaluated_gy"],
        dose_percent_threshold=2,
        distance_mm_threshold=2,
        lower_percent_dose_cutoff=10,
        interp_fraction=10,
        max_gamma=1.1,
        quiet=True,
    )
    judged = gamma[np.isfinite(gamma)]
    print(json.dumps({"points": len(judged), "passed_percent": 100.0 * float(np.mean(judged <= 1))}))


if __name__ == "__main__":
    main(sys.argv[1])

"""Gamma index by pymedphys, in a process of its own: it replaces modules when it is imported and disturbs others.

``python -m radiarch_worker.evaluation.gamma IN.npz OUT.json`` is that process; `gamma_index` starts it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.workflows import GammaCriteria

from radiarch_worker.model import BoolVolume, FloatVolume, Grid, Reporter

MAX_SEARCHED = 2.0
"""Gamma is searched up to this; what is worse counts as this."""
_FAR_MM = 1e5
_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class GammaValues:
    """Gamma over points that were judged."""

    points: int
    passed_percent: float
    mean: float
    max: float


def gamma_index(
    reference_gy: FloatVolume,
    reference: Grid,
    regions: Sequence[BoolVolume],
    evaluated_gy: FloatVolume,
    evaluated: Grid,
    criteria: GammaCriteria,
    normalization_gy: float,
    folder: Path,
    reporter: Reporter,
) -> list[GammaValues]:
    """Gamma of a dose at the points of a reference grid, in each of several regions; all of them hold points.

    Parameters
    ----------
    reference_gy, evaluated_gy
        (Z, Y, X) Gy, each on its grid; the evaluated dose is interpolated linearly, and beyond its grid taken as at
        its edge.
    regions
        (Z, Y, X) bool on the reference grid: the points to judge, for each answer.
    normalization_gy
        What global percentages are of.
    folder
        Private to the job; files are made in it and removed.

    Raises
    ------
    EngineError
        pymedphys failed.
    """
    from radiarch_worker.engines.processes import Command, run_all

    given, answer = folder / "gamma.npz", folder / "gamma.json"
    judged = np.logical_or.reduce(regions)
    # points that are not to be judged are below every cut-off
    shown = np.where(judged, np.maximum(reference_gy, np.float32(1e-6 * normalization_gy)), np.float32(-1.0))
    padded = np.pad(evaluated_gy, 1, mode="edge")
    axes = [evaluated.axis_mm(a) for a in (2, 1, 0)]
    padded_axes = [np.concatenate([[x[0] - _FAR_MM], x, [x[-1] + _FAR_MM]]) for x in axes]
    np.savez(
        given,
        reference=shown,
        evaluated=padded,
        regions=np.stack([region[judged] for region in regions]),
        **{f"r{i}": reference.axis_mm(a) for i, a in enumerate((2, 1, 0))},
        **{f"e{i}": x for i, x in enumerate(padded_axes)},
        criteria=np.array([criteria.dose_percent, criteria.distance_mm, normalization_gy]),
        local=np.array(criteria.normalization == "local"),
    )
    # the modules are found where this process found them, however it was started
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = Command(
        "gamma", (sys.executable, "-W", "ignore", "-m", __name__, str(given), str(answer)), folder, environment
    )
    try:
        run_all(
            [command],
            threads=1,
            on_line=lambda _, line: reporter.log(f"gamma: {line}"),
            on_done=lambda _: None,
            timeout_s=_TIMEOUT_S,
        )
        return [GammaValues(**found) for found in json.loads(answer.read_text())]
    except (OSError, ValueError, TypeError) as e:
        raise EngineError(
            f"gamma gave no answer ({type(e).__name__})",
            remedy="Look into the job's log; check that pymedphys and interpolation are installed.",
            code=ErrorCode.ENGINE_OUTPUT_INVALID,
        ) from e
    finally:
        given.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)


def main(given_file: str, answer_file: str) -> None:
    """The process's own part."""
    import pymedphys
    from pymedphys._gamma.implementation import shell

    def unavailable(*_: object) -> None:
        raise ImportError

    # Its other interpolation is compiled anew in every process, which takes longer than gamma does. There is no public
    # way around it: pymedphys 0.40 falls back to SciPy only where this function raises ImportError, and where the
    # other package is missing, its loader looks for a file that the wheel has not.
    shell._run_interp_with_econforge = unavailable

    with np.load(given_file) as given:
        reference = given["reference"].astype(np.float64)
        regions = given["regions"]
        dose_percent, distance_mm, normalization_gy = given["criteria"].tolist()
        values = pymedphys.gamma(
            tuple(given[f"r{i}"] for i in range(3)),
            reference,
            tuple(given[f"e{i}"] for i in range(3)),
            given["evaluated"].astype(np.float64),
            dose_percent_threshold=dose_percent,
            distance_mm_threshold=distance_mm,
            lower_percent_dose_cutoff=0,
            max_gamma=MAX_SEARCHED,
            local_gamma=bool(given["local"]),
            global_normalisation=normalization_gy,
            ram_available=2**29,
        )
    # a point whose search found nothing below the limit has no value
    judged = np.nan_to_num(values[reference >= 0], nan=MAX_SEARCHED)
    Path(answer_file).write_text(json.dumps([_summary(judged[region]) for region in regions]))


def _summary(judged: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        "points": len(judged),
        "passed_percent": 100.0 * float(np.mean(judged <= 1.0)),
        "mean": float(judged.mean()),
        "max": float(judged.max()),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])

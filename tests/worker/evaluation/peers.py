"""DVH metrics by dicompyler-core and pymedphys, from the DICOM files alone, in a process of their own.

In a process of their own since they patch, import lazily and warn: neither pydicom nor hypothesis is the same
after them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_STATISTICS = ("D98", "D95", "D50", "D2")


@dataclass(frozen=True)
class PeerMetrics:
    volume_cc: float
    mean_gy: float
    d98_gy: float
    d95_gy: float
    d50_gy: float
    d2_gy: float


def dicompyler(rtstruct: Path, rtdose: Path, roi_numbers: Sequence[int]) -> dict[int, PeerMetrics]:
    """DVHs that dicompyler-core computes from contours and dose."""
    found = _run("dicompyler", rtstruct, rtdose, roi_numbers)
    return {int(k): PeerMetrics(*v) for k, v in found.items()}


def dicompyler_stored(rtdose: Path, roi_numbers: Sequence[int]) -> dict[int, PeerMetrics]:
    """DVHs that dicompyler-core reads from the dose's DVH Sequence."""
    found = _run("dicompyler_stored", rtdose, rtdose, roi_numbers)
    return {int(k): PeerMetrics(*v) for k, v in found.items()}


def pymedphys(rtstruct: Path, rtdose: Path, names: Sequence[str]) -> dict[str, PeerMetrics]:
    """Metrics of the dose values that pymedphys finds within structures."""
    return {k: PeerMetrics(*v) for k, v in _run("pymedphys", rtstruct, rtdose, names).items()}


def _run(what: str, rtstruct: Path, rtdose: Path, structures: Sequence[object]) -> dict[str, list[float]]:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, what, rtstruct, rtdose, *map(str, structures)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, list[float]] = json.loads(run.stdout.splitlines()[-1])
    return found


def _main(what: str, rtstruct: str, rtdose: str, *structures: str) -> None:
    import numpy as np
    import pydicom
    import pydicom.dicomio

    # dicompyler-core 0.5.6 asks pydicom for a name that pydicom 3 dropped
    pydicom.dicomio.read_file = pydicom.dcmread  # type: ignore[attr-defined]
    ss, dose = pydicom.dcmread(rtstruct), pydicom.dcmread(rtdose)
    found: dict[str, list[float]] = {}
    for structure in structures:
        if what == "pymedphys":
            from pymedphys._dicom.dose import find_dose_within_structure

            inside_gy = find_dose_within_structure(structure, ss, dose)
            percentiles = [float(np.percentile(inside_gy, 100 - int(s[1:]))) for s in _STATISTICS]
            found[structure] = [float("nan"), float(inside_gy.mean()), *percentiles]
        else:
            from dicompylercore import dvh, dvhcalc

            stored = what == "dicompyler_stored"
            one = dvh.DVH.from_dicom_dvh(dose, int(structure)) if stored else dvhcalc.get_dvh(ss, dose, int(structure))
            statistics = [float(one.statistic(s).value) for s in _STATISTICS]
            found[structure] = [float(one.volume), float(one.mean), *statistics]
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])

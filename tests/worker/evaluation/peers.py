"""DVH metrics by dicompyler-core and pymedphys, from the DICOM objects alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
import pydicom.dicomio
from pydicom.dataset import Dataset


@dataclass(frozen=True)
class PeerMetrics:
    volume_cc: float | None
    mean_gy: float
    d98_gy: float
    d95_gy: float
    d50_gy: float
    d2_gy: float


def dicompyler(rtstruct: Dataset, rtdose: Dataset, roi_number: int, **options: Any) -> PeerMetrics:
    """Metrics by dicompyler-core; ``options`` as of its ``get_dvh``."""
    # dicompyler-core 0.5.6 asks pydicom for a name that pydicom 3 dropped
    pydicom.dicomio.read_file = pydicom.dcmread  # type: ignore[attr-defined]
    from dicompylercore import dvhcalc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dvh = dvhcalc.get_dvh(rtstruct, rtdose, roi_number, **options)
    return PeerMetrics(
        float(dvh.volume),
        float(dvh.mean),
        *(float(dvh.statistic(name).value) for name in ("D98", "D95", "D50", "D2")),
    )


def pymedphys(rtstruct: Dataset, rtdose: Dataset, name: str) -> PeerMetrics:
    """Metrics of the dose values that pymedphys finds within a structure."""
    from pymedphys._dicom.dose import find_dose_within_structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inside_gy = find_dose_within_structure(name, rtstruct, rtdose)
    d98, d95, d50, d2 = (float(np.percentile(inside_gy, 100 - v)) for v in (98, 95, 50, 2))
    return PeerMetrics(None, float(inside_gy.mean()), d98, d95, d50, d2)

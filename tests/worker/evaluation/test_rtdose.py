"""RTDOSE of other systems is read as it stands, or refused by name."""

from __future__ import annotations

import itertools
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_worker.evaluation import read_rtdose

from phantoms import box
from phantoms.rtdose import rtdose

STUDY = box(shape=(5, 12, 12))
SHAPE = (4, 5, 6)
ORIGIN, SPACING = (-11.5, -7.25, 3.0), (2.5, 3.0, 2.0)


def dose() -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0, 70, SHAPE).astype(np.float32)


def written(**changes: Any) -> Dataset:
    ds = rtdose(STUDY, dose(), **{"origin_mm": ORIGIN, "spacing_mm": SPACING, **changes})
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("flip", list(itertools.product([False, True], repeat=3)), ids=str)
def test_every_axial_form_is_the_same_dose(bits: int, absolute: bool, flip: tuple[bool, bool, bool]) -> None:
    read = read_rtdose(written(bits=bits, absolute=absolute, flip=flip))
    assert read.grid.shape == SHAPE
    assert read.grid.origin_mm == pytest.approx(ORIGIN, abs=1e-5)
    assert read.grid.spacing_mm == pytest.approx(SPACING)
    assert np.abs(read.dose_gy - dose()).max() <= 71 / (2**bits - 2) + 1e-5
    assert not read.weighted


def test_what_the_object_says_of_itself() -> None:
    read = read_rtdose(written(DoseType="EFFECTIVE", rtplan_uid="1.2.3"))
    assert read.weighted
    assert [uid for _, uid in read.referenced_plans] == ["1.2.3"]
    assert read.frame_of_reference_uid == STUDY.rtstruct.FrameOfReferenceUID
    assert (read.description.dose_type, read.description.label) == ("EFFECTIVE", "PLAN_A")
    assert read.description.max_gy == pytest.approx(float(dose().max()), rel=1e-6)
    (note,) = read_rtdose(written(DoseSummationType="BEAM")).notes
    assert "BEAM" in note


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, ErrorCode.UNREADABLE_RTDOSE),
        ({"DoseUnits": "RELATIVE"}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseUnits": None}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseType": "ERROR"}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseSummationType": "CONTROL_POINT"}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseGridScaling": 0.0}, ErrorCode.UNREADABLE_RTDOSE),
        ({"DoseGridScaling": -1.0}, ErrorCode.UNREADABLE_RTDOSE),
        ({"DoseGridScaling": 1.0}, ErrorCode.UNSUPPORTED_DOSE),
        ({"DoseGridScaling": None}, ErrorCode.UNREADABLE_RTDOSE),
        ({"PixelRepresentation": 1}, ErrorCode.UNREADABLE_RTDOSE),
        ({"BitsStored": 12}, ErrorCode.UNREADABLE_RTDOSE),
        ({"PixelData": b"\0" * 10}, ErrorCode.UNREADABLE_RTDOSE),
        ({"Rows": 60_000}, ErrorCode.UNREADABLE_RTDOSE),
        ({"Rows": 2_000, "Columns": 2_000, "NumberOfFrames": 2_000}, ErrorCode.TOO_LARGE),
        ({"NumberOfFrames": 1, "GridFrameOffsetVector": [0.0]}, ErrorCode.UNSUPPORTED_GEOMETRY),
        ({"GridFrameOffsetVector": [0.0, 2.0, 4.0, 7.0]}, ErrorCode.UNSUPPORTED_GEOMETRY),
        ({"GridFrameOffsetVector": [0.0, 2.0, 1.0, 3.0]}, ErrorCode.UNSUPPORTED_GEOMETRY),
        ({"GridFrameOffsetVector": [5.0, 7.0, 9.0, 11.0]}, ErrorCode.UNREADABLE_RTDOSE),
        ({"GridFrameOffsetVector": [0.0, 2.0]}, ErrorCode.UNREADABLE_RTDOSE),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, ErrorCode.UNSUPPORTED_GEOMETRY),
        ({"ImageOrientationPatient": [0.98, 0.2, 0, -0.2, 0.98, 0]}, ErrorCode.UNSUPPORTED_GEOMETRY),
        ({"PixelSpacing": [0.0, 1.0]}, ErrorCode.UNREADABLE_RTDOSE),
        ({"FrameOfReferenceUID": None}, ErrorCode.UNREADABLE_RTDOSE),
    ],
    ids=str,
)
def test_what_cannot_be_judged_truthfully_is_refused(changes: dict[str, Any], code: ErrorCode) -> None:
    with pytest.raises(InputRefusedError) as e:
        read_rtdose(written(**changes))
    assert e.value.code is code
    assert e.value.info.remedy


def test_planes_that_may_go_up_or_down_are_refused() -> None:
    ds = written(origin_mm=(0.0, 0.0, 0.0), flip=(False, True, False))
    with pytest.raises(InputRefusedError, match="up or down"):
        read_rtdose(ds)

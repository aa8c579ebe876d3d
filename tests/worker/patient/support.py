"""The loader as these tests call it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from radiarch_contract.errors import InputRefusedError
from radiarch_worker.model import Patient
from radiarch_worker.patient import load_patient

from phantoms import PhantomStudy


def load(
    study: PhantomStudy, *, needed: Collection[int] = (), patient_id: str | None = None, **options: Any
) -> Patient:
    return load_patient(study.rtstruct, study.images, needed_rois=needed, expected_patient_id=patient_id, **options)


def refusal(
    study: PhantomStudy, *, needed: Collection[int] = (), patient_id: str | None = None, **options: Any
) -> InputRefusedError:
    """The error that the study is refused with; it tells no patient's name and says what to do."""
    with pytest.raises(InputRefusedError) as caught:
        load(study, needed=needed, patient_id=patient_id, **options)
    text = f"{caught.value.info.message} {caught.value.info.remedy} {caught.value.info.details}"
    assert str(study.images[0].PatientName) not in text
    assert caught.value.info.remedy
    return caught.value


def volumes_cc(patient: Patient) -> dict[str, float]:
    return {s.name: float(s.mask.sum()) * patient.ct.grid.voxel_cc for s in patient.structures.values()}

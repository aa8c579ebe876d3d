"""Patients' names for what older versions have stored: asked of Orthanc once, when the service has started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from radiarch_contract.images import same_patient

from radiarch_plugin.store import Store

AT_ONCE = 200


class Orthanc(Protocol):
    def patient_names(self, study_instance_uids: Sequence[str]) -> Mapping[tuple[str, str], str]: ...


def fill_names(store: Store, orthanc: Orthanc) -> int:
    """Give plans and arrivals the name of their patient, where Orthanc still has the study; how many got one.

    Raises
    ------
    ServiceError
        Orthanc does not answer.
    """
    filled = 0
    unknown = store.names.unknown()
    for start in range(0, len(unknown), AT_ONCE):
        some = unknown[start : start + AT_ONCE]
        stored = orthanc.patient_names(sorted({study for _, study in some}))
        found = {
            (patient, study): name
            for patient, study in some
            for (whose, where), name in stored.items()
            if where == study and same_patient(whose, patient)
        }
        filled += store.names.fill(found)
    return filled

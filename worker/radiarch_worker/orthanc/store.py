"""Results handed over to Orthanc, and read back from it; what they mean is not known here."""

from __future__ import annotations

from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, RadiarchError, ServiceError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.job import Output
from radiarch_contract.states import OutputKind

from .client import Orthanc, is_orthanc_id
from .part10 import encoded, read

_TRIES = 3


def store_result(orthanc: Orthanc, kind: OutputKind, dataset: Dataset) -> Output:
    """Store one result and read it back; nothing is ever deleted here.

    Raises
    ------
    RadiarchError
        ``store_failed``: it was refused, or what is stored is not what was sent; ``cancelled``: it is not wanted.
    """
    data = encoded(dataset)
    sent = read(data, ErrorCode.STORE_FAILED, f"our own {kind}")
    sent_sha256 = dataset_sha256(sent)
    for _ in range(_TRIES):
        answer = orthanc.post_instance(data)
        status, orthanc_id = answer.get("Status"), str(answer.get("ID", ""))
        if status not in ("Success", "AlreadyStored") or not is_orthanc_id(orthanc_id):
            raise RadiarchError(
                f"Orthanc did not store the {kind}: its answer is {str(status)[:40]!r}, expected 'Success'",
                remedy="A filter in Orthanc (Lua or a plugin) may refuse it: let RT plans and doses through.",
                code=ErrorCode.STORE_FAILED,
            )
        stored = orthanc.instance(orthanc_id)
        sha256 = None if stored is None else _same(stored, sent, sent_sha256)
        if sha256 is not None:
            return Output(
                kind=kind,
                sop_class_uid=str(dataset.SOPClassUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                series_instance_uid=str(dataset.SeriesInstanceUID),
                orthanc_id=orthanc_id,
                sha256=sha256,
            )
    raise ServiceError(
        f"the {kind} read back from Orthanc is not the one that was sent",
        remedy="See that no other program writes or changes results in Orthanc, and Orthanc's log and disk.",
        code=ErrorCode.STORE_FAILED,
    )


def _same(stored: bytes, sent: Dataset, sent_sha256: str) -> str | None:
    """The hash of what is stored where that is what was sent, else None."""
    dataset = read(stored, ErrorCode.STORE_FAILED, "a stored result")
    sha256 = dataset_sha256(dataset)
    if sha256 == sent_sha256:
        return sha256
    if dataset.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID or "PixelData" not in sent:
        return None
    # Orthanc was configured to transcode what it stores: then the pixels have to be equal, and all else
    import numpy as np

    if not np.array_equal(dataset.pixel_array, sent.pixel_array):
        return None
    plain = read(encoded(sent), ErrorCode.STORE_FAILED, "our own result")
    for ds in (dataset, plain):
        del ds.PixelData
    return sha256 if dataset_sha256(dataset) == dataset_sha256(plain) else None

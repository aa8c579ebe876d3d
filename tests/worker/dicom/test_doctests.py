"""The examples in docstrings are true."""

from __future__ import annotations

import doctest

import radiarch_worker.dicom.valuerep
import radiarch_worker.evaluation.dvh


def test_examples() -> None:
    for module in (radiarch_worker.dicom.valuerep, radiarch_worker.evaluation.dvh):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0

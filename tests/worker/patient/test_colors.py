"""Reports draw a structure in the color that pages and viewer have: both read one file, by one rule."""

from __future__ import annotations

import io

import pydicom
import pytest
from radiarch_contract.structure_colors import readable, structure_colors
from radiarch_plugin.dicom.rtstruct import read_rtstruct
from radiarch_worker.patient.rtstruct import read_structure_set

from phantoms import box, file_bytes


@pytest.mark.parametrize("written", [None, [0, 0, 255], [255, 255, 0], [300, 0, 0], [1, 2]])
def test_worker_and_service_draw_each_structure_in_one_color(written: list[int] | None) -> None:
    rtstruct = pydicom.dcmread(io.BytesIO(file_bytes(box(shape=(4, 16, 16), seed="colors").rtstruct)))
    for item in rtstruct.ROIContourSequence:  # all alike, so that they have to be made distinct
        if written is None:
            del item.ROIDisplayColor
        else:
            item.ROIDisplayColor = written
    facts = read_rtstruct(file_bytes(rtstruct))
    outlines = [roi.number for roi in facts.rois if roi.interpreted_type == "EXTERNAL"]
    served = structure_colors({roi.number: roi.display_color for roi in facts.rois}, outlines)
    drawn = {roi.number: roi.color for roi in read_structure_set(rtstruct).rois}
    assert drawn == served
    assert len(set(drawn.values())) == len(drawn) > 1
    if written == [0, 0, 255]:
        assert drawn[facts.rois[0].number] == readable((0, 0, 255))

"""The phantoms themselves: valid DICOM, the same for the same seed, fresh otherwise."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest

from phantoms import SITES, PhantomStudy, box, pelvis
from phantoms.__main__ import main


@pytest.mark.parametrize("phantom", ["pelvis", "box", *SITES])
def test_dciodvfy_finds_nothing(tmp_path: Path, phantom: str) -> None:
    assert shutil.which("dciodvfy"), "dciodvfy (package dicom3tools) is needed"
    assert main([phantom, str(tmp_path), "--patient-id", "P7"]) == 0
    for path in (tmp_path / "RTSTRUCT.dcm", tmp_path / "CT" / "0001.dcm"):
        assert pydicom.dcmread(path).PatientID == "P7"
        told = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        lines = (told.stdout + told.stderr).splitlines()
        assert [line for line in lines if line.startswith(("Error", "Warning"))] == []


def test_the_same_seed_gives_the_same_objects(tmp_path: Path) -> None:
    def files(name: str, seed: str | None) -> list[bytes]:
        return [p.read_bytes() for p in box(seed=seed).save(tmp_path / name)]

    assert files("a", "one") == files("b", "one")
    assert set(files("c", "two")).isdisjoint(files("a", "one"))
    fresh = [box() for _ in range(2)]
    assert fresh[0].rtstruct.SOPInstanceUID != fresh[1].rtstruct.SOPInstanceUID
    assert {i.SeriesInstanceUID for s in fresh for i in s.images} == {s.images[0].SeriesInstanceUID for s in fresh}
    assert all(len({i.StudyInstanceUID for i in [*s.images, s.rtstruct]}) == 1 for s in fresh)


def test_the_target_of_the_pelvis_is_small_enough_for_a_quick_plan(man: PhantomStudy) -> None:
    assert 60 < man.shapes["PTV"].volume_cc < 100


def test_a_shift_moves_image_and_structures_together() -> None:
    here, there = (
        pelvis(seed="x", shape=(24, 32, 40), spacing_mm=(9.0, 9.0, 6.0), shift_mm=shift)
        for shift in ((0.0, 0.0, 0.0), (10.0, -20.0, 30.0))
    )
    for a, b in zip(here.images, there.images, strict=True):
        assert a.PixelData == b.PixelData
        moved = [float(q) - float(p) for p, q in zip(a.ImagePositionPatient, b.ImagePositionPatient, strict=True)]
        assert moved == pytest.approx([10, -20, 30])
    first = [s.rtstruct.ROIContourSequence[1].ContourSequence[0].ContourData[:3] for s in (here, there)]
    assert [float(q) - float(p) for p, q in zip(*first, strict=True)] == pytest.approx([10, -20, 30])

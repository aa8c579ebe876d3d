"""Running dciodvfy on results: ``python -m tests.worker.dicom.dciodvfy FILE …`` says what it finds."""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

_IODS = ("RTIonPlan", "RTPlan", "RTDose", "EncapsulatedPDF", "ParametricMap")


def findings(dataset: Dataset, folder: Path) -> list[str]:
    """Lines that dciodvfy says about a data set, without the line that names the IOD.

    dciodvfy aborts on uncompressed pixels of 32 bits ("bitsallocated <= bytesinword*8u"), whatever
    the rest: it is shown the same object with its pixels cut to 16 bits.
    """
    shown = copy.deepcopy(dataset)
    if shown.get("BitsAllocated") == 32 and "PixelData" in shown:
        shown.BitsAllocated, shown.BitsStored, shown.HighBit = 16, 16, 15
        shown.PixelData = shown.PixelData[: len(shown.PixelData) // 2]
    path = folder / "shown.dcm"
    shown.save_as(path, enforce_file_format=True)
    run = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode in (0, 1), run.stderr  # 1: it found errors
    return [line for line in (run.stdout + run.stderr).splitlines() if line not in _IODS]


def main(paths: list[str]) -> int:
    """Print what dciodvfy says about each file; 1 where it said anything."""
    said = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            lines = findings(pydicom.dcmread(path), Path(folder))
            print(f"{path}: {len(lines)} findings", *lines, sep="\n  ")
            said += len(lines)
    return int(said > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

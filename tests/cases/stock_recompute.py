"""Recomputes an RT Ion Plan with stock OpenTPS, as a program of its own; shares no code with the product.

``python -m tests.cases.stock_recompute STUDY_FOLDER PLAN.dcm DOSE.dcm OUT.npy PRIMARIES`` reads CT and RTSTRUCT with
OpenTPS's readers, the plan with a reader that shares nothing with our writer, and writes physical Gy over all
fractions, (Z, Y, X), on the grid of DOSE.dcm. OpenTPS keeps settings in ``$HOME`` and simulates in its workspace there:
give it a HOME of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from opentps.core.data.plan._planProtonBeam import PlanProtonBeam
from opentps.core.data.plan._planProtonLayer import PlanProtonLayer
from opentps.core.data.plan._protonPlan import ProtonPlan
from opentps.core.io.dicomIO import readDicomCT, readDicomStruct
from opentps.core.io.mcsquareIO import readBDL
from opentps.core.io.scannerReader import readScanner
from opentps.core.processing.doseCalculation.doseCalculationConfig import DoseCalculationConfig
from opentps.core.processing.doseCalculation.protons.mcsquareDoseCalculator import MCsquareDoseCalculator

from tests.worker.dicom.independent_reader import read_ion_plan

BDL = "BDL_default_UN_RangeShifter.txt"


class Calculator(MCsquareDoseCalculator):  # type: ignore[misc]
    """Stock, but for delta electrons and the launcher, which has neither Unix line ends nor the right to be executed.

    ``Te_Min`` is the product's (`test_delta_electrons`: the dose is the same), and takes half as long.
    """

    @property
    def _generalMCsquareConfig(self) -> Any:  # noqa: N802 (OpenTPS's name)
        config = MCsquareDoseCalculator._generalMCsquareConfig.fget(self)
        config["Te_Min"] = 0.5
        return config

    def _startMCsquare(self, opti: bool = False) -> None:  # noqa: N802 (OpenTPS's name)
        folder = Path(self._mcsquareSimuDir)
        launcher = folder / "MCsquare"
        launcher.write_bytes(launcher.read_bytes().replace(b"\r", b""))
        for binary in folder.glob("MCsquare*"):
            binary.chmod(0o755)
        subprocess.run(["sh", "MCsquare"], cwd=folder, check=True)


def main(study: Path, plan_file: Path, dose_file: Path, out: Path, primaries: float) -> None:
    ct, structures, plan = _read(study, plan_file)
    body = next(c for c in structures.contours if c.name == "BODY")
    reference = pydicom.dcmread(dose_file, stop_before_pixels=True)
    rows, columns = map(float, reference.PixelSpacing)
    offsets = np.asarray(reference.GridFrameOffsetVector, dtype=float)
    calculator = Calculator()
    calculator.beamModel = readBDL(str(Path(DoseCalculationConfig().bdlFile).with_name(BDL)))
    calculator.ctCalibration = readScanner(DoseCalculationConfig().scannerFolder)
    calculator.nbPrimaries = primaries
    calculator.overwriteOutsideROI = body
    calculator.setScoringParameters(
        scoringGridSize=[int(reference.Columns), int(reference.Rows), len(offsets)],
        scoringSpacing=[columns, rows, float(offsets[1] - offsets[0])],
        scoringOrigin=[float(v) for v in reference.ImagePositionPatient],
    )
    dose = calculator.computeDose(ct, plan)
    assert np.allclose(dose.origin, [float(v) for v in reference.ImagePositionPatient], atol=1e-3)
    np.save(out, np.asarray(dose.imageArray, dtype=np.float32).transpose(2, 1, 0))


def _read(study: Path, plan_file: Path) -> tuple[Any, Any, Any]:
    by_modality: dict[str, list[Path]] = {}
    for path in study.rglob("*.dcm"):
        by_modality.setdefault(pydicom.dcmread(path, specific_tags=["Modality"]).Modality, []).append(path)
    slices = sorted(by_modality["CT"], key=lambda p: float(pydicom.dcmread(p).ImagePositionPatient[2]))
    ct = readDicomCT([str(p) for p in slices])
    structures = readDicomStruct(str(by_modality["RTSTRUCT"][0]))
    read = read_ion_plan(plan_file)
    plan = ProtonPlan()
    plan.radiationType, plan.scanMode = "PROTON", "MODULATED"
    plan.numberOfFractionsPlanned = read.fractions  # before any spot: the setter rescales the meterset
    for beam in read.beams:
        made = PlanProtonBeam()
        made.name, made.gantryAngle, made.couchAngle = beam.name, beam.gantry_deg, beam.couch_deg
        made.isocenterPosition = list(beam.isocenter_mm)
        for layer in beam.layers:
            spots = PlanProtonLayer(layer.energy_mev)
            spots.appendSpot(layer.x_mm, layer.y_mm, layer.meterset_mu)
            made.appendLayer(spots)
        plan.appendBeam(made)
    return ct, structures, plan


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), float(sys.argv[5]))

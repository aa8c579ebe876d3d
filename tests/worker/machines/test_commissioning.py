"""Machine files from measurements: a beam that is computed is found again, and mistakes in files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_contract.errors import ErrorCode
from radiarch_worker.commissioning.__main__ import run
from radiarch_worker.commissioning.linac import penumbra_mm
from radiarch_worker.commissioning.measurements import UnusableMeasurementsError, read_measurements
from radiarch_worker.engines.collapsedcone import Aperture, water_depth_dose
from radiarch_worker.machines.photon_machine import GENERIC_LINAC, photon_machine, read_photon_machine

MACHINE = photon_machine(GENERIC_LINAC).file
DEPTH_DOSE = "depth-dose-100x100-ssd1000.csv"


def written(folder: Path, name: str, head: str, at: npt.NDArray[np.float64], dose: npt.NDArray[np.float64]) -> None:
    rows = [f"{a:g},{d:.6g}" for a, d in zip(at, dose, strict=True)]
    (folder / name).write_text("\n".join([head, *rows]) + "\n")


def test_a_spectrum_is_found_again_and_the_file_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    energy = MACHINE.energies[0]
    spectrum = tuple((e, n * e**0.3) for e, n in energy.spectrum)
    harder = energy.model_copy(update={"spectrum": spectrum})
    square = Aperture(None, (-50.0, 50.0), (-50.0, 50.0))
    dose, depth = water_depth_dose(MACHINE, harder, square, 1000.0, 220.0, 4.0)
    written(tmp_path, DEPTH_DOSE, "depth_cm,dose", depth / 10, dose)
    assert run([str(tmp_path), "--name", "found"]) == 0
    fitted = read_photon_machine("found.yaml", (tmp_path / "found.yaml").read_bytes())
    assert fitted.confirmation is None
    assert not fitted.generic
    before, after = (np.array(s)[:, 1] for s in (spectrum, fitted.energies[0].spectrum))
    np.testing.assert_allclose(after, before / before.sum(), atol=0.012)
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "No output factors" in said
    assert "depth dose 100 x 100 mm, SSD 1000 mm: at most 0." in said


def test_a_penumbra_is_measured_from_80_to_20_percent() -> None:
    at = np.arange(-80.0, 80.1, 1.0)
    dose = np.clip((55.0 - np.abs(at)) / 10.0, 0.0, 1.0)
    assert penumbra_mm(at, dose) == pytest.approx(6.0, abs=0.01)


MISTAKES = {
    "no unit": (DEPTH_DOSE, "depth,dose\n0,1\n100,2\n200,1\n", 1, "depth_mm,dose"),
    "inches": (DEPTH_DOSE, "depth_in,dose\n0,1\n100,2\n200,1\n", 1, "depth_mm,dose"),
    "no number": (DEPTH_DOSE, "depth_mm,dose\n0,1\n100,much\n200,1\n", 3, "much"),
    "negative dose": (DEPTH_DOSE, "depth_mm,dose\n0,1\n100,-2\n200,1\n", 3, "at least 0"),
    "twice": (DEPTH_DOSE, "depth_mm,dose\n0,1\n100,2\n100,1\n200,1\n", 1, "twice"),
    "too short": (DEPTH_DOSE, "depth_mm,dose\n0,1\n10,2\n20,1\n", 2, "150"),
    "a name": ("pdd.csv", "depth_mm,dose\n0,1\n100,2\n200,1\n", 1, "its name"),
    "no reference": ("output-factors-ssd900-depth100.csv", "side_mm,factor\n40,0.9\n60,1\n80,1\n", 1, "100 mm"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, name: str) -> None:
    file, text, line, expected = MISTAKES[name]
    (tmp_path / file).write_text(text)
    with pytest.raises(UnusableMeasurementsError) as refused:
        read_measurements(tmp_path)
    assert refused.value.code == ErrorCode.INVALID_MACHINE_DATA
    problem = refused.value.problems[0]
    assert (problem.file, problem.line) == (file, line)
    assert expected in problem.message


def test_a_folder_without_measurements_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tmp_path)]) == 2
    assert "100 x 100 mm" in capsys.readouterr().err

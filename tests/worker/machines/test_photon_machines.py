"""Machine files of linacs: the one that ships, and mistakes named by line and field."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_worker.machines.library import InvalidSiteFilesError, site_machines
from radiarch_worker.machines.photon_machine import (
    GENERIC_LINAC,
    photon_machine,
    photon_machine_files,
    photon_machine_problems,
)

from tests.worker.machines.site import site


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with site(tmp_path, "machines"):
        yield tmp_path / "machines"


def shipped_text() -> str:
    return photon_machine_files()[GENERIC_LINAC].read_text()


def test_the_machine_that_ships_is_nobodys_and_says_so(folder: Path) -> None:
    machine = photon_machine(GENERIC_LINAC)
    assert "nobody's machine" in machine.notes[0]
    edges = machine.file.mlc.boundaries_mm
    assert [b - a for a, b in pairwise(edges)] == [10.0] * 10 + [5.0] * 40 + [10.0] * 10
    assert machine.energy(6.0).calibration.gy_per_mu == 0.01


def test_a_machine_of_the_site_is_no_proton_machine(folder: Path) -> None:
    (folder / "linac-1.yaml").write_text(shipped_text().replace("generic: true\n", ""))
    assert "not confirmed" in photon_machine("linac-1").notes[0]
    assert site_machines([]) == ({}, ())


MISTAKES = {
    "a length in centimeters": ("[-200, 200], distance_mm: 406", "[-20, 20], distance_cm: 40.6", "jaws_x.distance_cm"),
    "a dose per MU in cGy": ("gy_per_mu: 0.01", "gy_per_mu: 1.0", "energies.0.calibration.gy_per_mu"),
    "a source spot in tenths": (
        "source_spot_mm: [1.0, 1.0]",
        "source_spot_mm: [10, 10]",
        "energies.0.source_spot_mm.0",
    ),
    "energies out of order": ("[0.5, 0.031]", "[5.0, 0.031]", "energies.0.spectrum"),
    "energies in keV": ("[6.0, 0.0059]", "[6000, 0.0059]", "energies.0.spectrum"),
    "horns out of order": ("[75, 1.025]", "[45, 1.025]", "energies.0.off_axis"),
    "horns in percent": ("[50, 1.016]", "[50, 101.6]", "energies.0.off_axis"),
    "a leaf edge out of order": ("-200, -190,", "-190, -200,", "mlc.boundaries_mm"),
    "transmission in percent": ("transmission: 0.015", "transmission: 1.5", "mlc.transmission"),
    "jaws the wrong way round": (
        "jaws_y: {transmission: 0.004, range_mm: [-200",
        "jaws_y: {transmission: 0.004, range_mm: [300",
        "jaws_y.range_mm",
    ),
    "no calibration": ("    calibration: {", "    # {", "energies.0.calibration"),
    "no number": ("speed_mm_s: 25\n", "speed_mm_s: .nan\n", "mlc.speed_mm_s"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_line_and_field(folder: Path, name: str) -> None:
    good, bad, field = MISTAKES[name]
    assert good in shipped_text()
    text = shipped_text().replace(good, bad, 1)
    (folder / "linac-1.yaml").write_text(text)
    with pytest.raises(InvalidSiteFilesError) as refused:
        photon_machine("linac-1")
    assert refused.value.code == ErrorCode.INVALID_MACHINE_DATA
    problem = next(p for p in refused.value.problems if p.field == field)
    wrong = next(
        n for n, (a, b) in enumerate(zip(text.splitlines(), shipped_text().splitlines(), strict=True)) if a != b
    )
    assert problem.line <= wrong + 1 <= problem.line + 40  # that of the table or part that it is in
    assert photon_machine_problems() == refused.value.problems


def test_energies_and_machines_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match="6 MV STANDARD"):
        photon_machine(GENERIC_LINAC).energy(10.0)
    with pytest.raises(InvalidRequestError, match="generic-120"):
        photon_machine("generic-12")

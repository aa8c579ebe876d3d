"""Names that a protocol uses and nobody defines are found, with where they stand and what is near."""

from __future__ import annotations

from pathlib import Path

import pytest
from radiarch_contract.protocol_file import read_folder, undefined_in

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = """\
id: lung
title: Lung
match:
  structures: [Hilum]
structures:
  Bolus: {names: [Bolus 1]}
prescription: {target: iGTV margin, dose_gy: 60, fractions: 30}
workflow: proton-impt-optimized
objectives:
  - {structure: iGTV margin, metric: DUniform, dose_gy: 60}
  - {structure: Cord, metric: DMax, dose_gy: 45}
  - {structure: Ring, metric: DMax, dose_gy: 55}
goals:
  - 'Lungs: Dmean ≤ 20 Gy'
  - 'Bolus 1: Dmean ≤ 20 Gy'
  - 'hilum: Dmax ≤ 60 Gy'
  - 'PTV_50: D95% ≥ 95%'
derived:
  Ring: '"iGTV margin" grown 10 mm minus "iGTV margin"'
"""


def problems(folder: Path, text: str) -> list[str]:
    (folder / "lung.yaml").write_text(text)
    read = read_folder(folder)
    assert not read.problems
    return [str(p) for item in read.loaded for p in undefined_in(folder / item.file, item.protocol)]


def test_what_is_standard_or_defined_is_right(tmp_path: Path) -> None:
    assert problems(tmp_path, TEXT) == []


@pytest.mark.parametrize(
    ("right", "wrong", "where", "meant"),
    [
        ("structure: Cord", "structure: Crod", "line 11, field objectives.1.structure: 'Crod'", None),
        ("structure: Cord", "structure: SpinalCrod", "line 11, field objectives.1.structure", "SpinalCord"),
        ("'Lungs:", "'Lung_:", "line 14, field goals.0: 'Lung_'", "Lungs"),
        ("'Lungs:", "'Left Lnug:", "line 14, field goals.0: 'Left Lnug'", "Lung_L"),
        ("'Bolus 1:", "'Bolus 2:", "line 15, field goals.1", "Bolus 1"),
        ('minus "iGTV', 'minus "iGTV2', "line 19, field derived.Ring: 'iGTV2 margin'", "iGTV margin"),
        ("structure: Ring", "structure: Rings", "line 12, field objectives.2.structure", "Ring"),
    ],
)
def test_a_slip_is_named_with_its_place_and_what_is_near(
    tmp_path: Path, right: str, wrong: str, where: str, meant: str | None
) -> None:
    assert right in TEXT
    (found,) = problems(tmp_path, TEXT.replace(right, wrong))
    assert f"lung.yaml, {where}" in found
    assert meant is None or repr(meant) in found.split("did you mean")[1]


def test_protocols_that_ship_define_all_that_they_name() -> None:
    folder = CHECKOUT / "orthanc-config" / "protocols"
    for item in read_folder(folder).loaded:
        assert undefined_in(folder / item.file, item.protocol) == []

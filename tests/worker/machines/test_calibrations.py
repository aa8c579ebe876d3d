"""A site's calibrations: read from files, errors with file, line and field, chosen by the CT's scanner."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError, RadiarchError
from radiarch_worker.engines.mcsquare import calibration_for, load_calibration, prepare_ct
from radiarch_worker.machines.stoichiometry import Attenuation
from radiarch_worker.machines.tissues import TISSUES
from radiarch_worker.model import CtVolume, Grid, Scanner

from tests.worker.engines.water import patient
from tests.worker.machines.site import site

TABLE = """\
id: {id}
title: A table
{more}
density:
  - [-1000, 0.00121]
  - [-100, 0.93]
  - [0, 1.0]
  - [100, 1.1]
  - [1500, 1.9]
materials:
  - {{hu: -1000, material: Air}}
  - {{hu: -950, material: lung}}
  - {{hu: -120, composition: {{H: 11.4, C: 59.8, N: 0.7, O: 28.1}}}}
  - {{hu: -20, material: Water}}
  - {{hu: 20, material: muscle 2}}
  - {{hu: 120, material: cortical bone}}
"""
CT1 = Scanner("SIEMENS Healthineers", "SOMATOM Confidence", "CT1", 120.0)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with site(tmp_path, "calibrations"):
        yield tmp_path / "calibrations"


def table(name: str, more: str = "") -> str:
    return TABLE.format(id=name, more=more)


def phantom(attenuation: Attenuation, *, name: str = "fitted", wrong: dict[str, float] | None = None) -> str:
    rods = ("lung", "adipose tissue 2", "brain, grey", "liver 2", "spongiosa", "cranium", "cortical bone")
    lines = [f"id: {name}", "title: From a phantom", "phantom:"]
    for rod in rods:
        tissue = TISSUES[rod]
        hu = attenuation.hu(tissue.composition, tissue.density_g_cm3) + (wrong or {}).get(rod, 0.0)
        elements = ", ".join(f"{symbol}: {100 * share:.4f}" for symbol, share in tissue.composition.shares)
        lines += [
            f"  - insert: {rod.replace(', ', '-')}",
            f"    hu: {hu:.2f}",
            f"    density_g_cm3: {tissue.density_g_cm3}",
            f"    composition: {{{elements}}}",
        ]
    return "\n".join(lines) + "\n"


def ct_of(*scanners: Scanner) -> CtVolume:
    grid = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (8, 8, 8))
    p = patient(grid, ((2, 12), (2, 12), (2, 12)), {})
    return replace(p.ct, scanners=scanners)


def test_a_table_is_used_as_it_is_written(folder: Path) -> None:
    (folder / "mine.yaml").write_text(table("mine", "confirmed_by: A. Physicist\nconfirmed_on: 2026-05-04"))
    calibration = load_calibration("mine")
    for hu, density in ((-1000, 0.00121), (-550, (0.00121 + 0.93) / 2), (50, 1.05), (1500, 1.9), (-1500, 0.00121)):
        assert calibration.density_g_cm3(hu) == pytest.approx(density)
    assert calibration.hu_of_density(1.05) == pytest.approx(50)
    rsp = {hu: float(calibration.stopping_power(np.full(1, hu, dtype=np.float32))[0]) for hu in (0, 60, 1000)}
    assert rsp[0] == pytest.approx(1.0, abs=1e-6)
    assert rsp[60] == pytest.approx(1.06 * float(TISSUES["muscle 2"].composition.mass_stopping_ratio()), rel=1e-5)
    bone = TISSUES["cortical bone"].composition
    assert rsp[1000] == pytest.approx(calibration.density_g_cm3(1000) * float(bone.mass_stopping_ratio()), rel=1e-5)
    assert calibration.notes == ()
    assert calibration.provenance["confirmed"] == {"by": "A. Physicist", "on": "2026-05-04"}
    assert set(calibration.sha256) == {"mine.yaml", "tables"}


def test_what_is_changed_in_a_file_counts_at_once_and_in_the_hashes(folder: Path) -> None:
    (folder / "mine.yaml").write_text(table("mine"))
    first = load_calibration("mine")
    (folder / "mine.yaml").write_text(table("mine").replace("[100, 1.1]", "[100, 1.12]"))
    second = load_calibration("mine")
    assert second.density_g_cm3(100) == 1.12
    assert all(first.sha256[k] != second.sha256[k] for k in ("mine.yaml", "tables"))
    # A comment changes the file, and nothing that is computed with it: beamlets stay in the cache.
    (folder / "mine.yaml").write_text(table("mine") + "# seen\n")
    assert load_calibration("mine").sha256["tables"] == first.sha256["tables"]
    assert first.denser(3).sha256["tables"] != first.sha256["tables"]


def test_a_phantom_gives_the_curve_of_its_scanner(folder: Path) -> None:
    attenuation = Attenuation(9e-4, 4.1e-5)
    (folder / "fitted.yaml").write_text(phantom(attenuation))
    calibration = load_calibration("fitted")
    for name in ("brain, grey", "liver 2", "vertebra D6 or L3", "cranium", "cortical bone", "adipose tissue 3"):
        tissue = TISSUES[name]
        hu = np.float32(attenuation.hu(tissue.composition, tissue.density_g_cm3))
        found = float(calibration.stopping_power(np.full(1, hu))[0])
        assert found == pytest.approx(tissue.density_g_cm3 * float(tissue.composition.mass_stopping_ratio()), rel=0.008)


MISTAKES = {
    "a density that falls": (("[100, 1.1]", "[100, 0.9]"), "density.3", "must not fall"),
    "CT numbers that fall": (("[100, 1.1]", "[-50, 1.1]"), "density.3", "have to rise"),
    "a density of text": (("[100, 1.1]", '[100, "1.1"]'), "density.3.1", "valid number"),
    "a density of yes": (("[100, 1.1]", "[100, yes]"), "density.3.1", "valid number"),
    "no number": (("[100, 1.1]", "[100, .nan]"), "density.3.1", "finite"),
    "kilograms": (("[0, 1.0]", "[0, 1000]"), "density.2.1", "less than or equal to 25"),
    "water that is not": (("[0, 1.0]", "[0, 0.94]"), "density", "0 HU is water"),
    "a table that begins in fat": (("  - [-1000, 0.00121]\n", ""), "density.0", "expected air"),
    "a material that nobody knows": (("material: lung", "material: lang"), "materials.1.material", "not known"),
    "an element that nobody knows": (("H: 11.4", "Hx: 11.4"), "materials.2.composition.Hx", "not known"),
    "half a composition": (("C: 59.8", "C: 9.8"), "materials.2.composition", "adds up to 50 %"),
    "materials out of order": (("hu: 20, material: muscle 2", "hu: -30, material: muscle 2"), "materials.4.hu", "rise"),
    "a field twice": (("title: A table", "title: A table\ntitle: B"), "title", "twice"),
    "an unknown field": (("title: A table", "title: A table\nsacnners: []"), "sacnners", "Extra inputs"),
    "the reserved name": (("id: mine", "id: auto"), "id", "stands for"),
    "a path for a name": (("id: mine", "id: ../mine"), "id", "match pattern"),
    "half a confirmation": (("title: A table", "title: A table\nconfirmed_by: X"), "", "belong together"),
    "a scanner of nothing": (("title: A table", "title: A table\nscanners: [{}]"), "scanners.0", "at least one"),
    "a broken pattern": (("title: A table", "title: A table\nscanners: [{model: '('}]"), "scanners.0.model", ""),
    "not YAML": (("density:", "density: ["), "", "not YAML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_file_line_and_field(folder: Path, mistake: str) -> None:
    (old, new), field, said = MISTAKES[mistake]
    text = table("mine")
    assert old in text
    (folder / "mine.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidRequestError) as caught:
        calibration_for("auto", ct_of(CT1))
    assert caught.value.code is ErrorCode.INVALID_MACHINE_DATA
    problems = caught.value.info.details["problems"]
    found = next(p for p in problems if p["field"] == field)
    assert found["file"] == "mine.yaml"
    assert said in found["message"]
    if field.count("."):
        line = text.replace(old, new, 1).splitlines()[found["line"] - 1]
        assert (new.splitlines() or ["- [-100, 0.93]"])[-1].strip() in line
    assert f"mine.yaml, line {found['line']}, field" in str(caught.value)
    # The wanted one might be among those that cannot be read; what ships still can be named.
    with pytest.raises(InvalidRequestError) as named:
        load_calibration("mine")
    assert named.value.code is ErrorCode.INVALID_MACHINE_DATA
    assert load_calibration("UCL_Toshiba").name == "UCL_Toshiba"


@pytest.mark.parametrize("rod", ["lung", "liver 2", "cortical bone"])
def test_an_insert_that_does_not_fit_the_others_is_named(folder: Path, rod: str) -> None:
    wrong = phantom(Attenuation(1.2e-3, 3e-5), wrong={rod: 190.0 if rod == "cortical bone" else 80.0})
    (folder / "fitted.yaml").write_text(wrong)
    with pytest.raises(InvalidRequestError, match=rf"phantom\.\d: {rod} has .* by the fit"):
        load_calibration("fitted")


def test_names_are_unique_and_what_ships_keeps_its_name(folder: Path) -> None:
    (folder / "a.yaml").write_text(table("mine"))
    (folder / "b.yml").write_text(table("mine"))
    with pytest.raises(InvalidRequestError, match=r"b\.yml.*id of a\.yaml too"):
        calibration_for("auto", ct_of(CT1))
    (folder / "b.yml").write_text(table("generic-icru"))
    with pytest.raises(InvalidRequestError, match=r"b\.yml.*calibration that ships"):
        calibration_for("auto", ct_of(CT1))


def test_no_request_reaches_a_file_by_its_path(folder: Path) -> None:
    (folder.parent / "other.yaml").write_text(table("other"))
    for name in ("../other", "other", str(folder.parent / "other"), "", "README", "auto"):
        with pytest.raises(InvalidRequestError, match="known"):
            load_calibration(name)


def test_a_shipped_one_can_be_confirmed_and_bound_to_a_scanner(folder: Path) -> None:
    (folder / "ours.yaml").write_text(
        "id: ours\ntitle: The generic one, measured\nshipped: generic-icru\nconfirmed_by: A. Physicist\n"
        "confirmed_on: 2026-01-02\nscanners: [{station: CT1}]\n"
    )
    generic, ours = load_calibration("generic-icru"), calibration_for("auto", ct_of(CT1))
    assert ours.name == "ours"
    assert np.array_equal(ours.rsp, generic.rsp)
    assert ours.sha256["tables"] == generic.sha256["tables"]
    assert generic.notes
    assert len(ours.notes) == 1
    assert "confirmed by A. Physicist" in ours.notes[0]


def test_an_unconfirmed_one_says_so_in_every_patients_notes(folder: Path) -> None:
    (folder / "mine.yaml").write_text(table("mine", "scanners: [{manufacturer: siemens}]"))
    p = patient(Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (8, 8, 8)), ((2, 12), (2, 12), (2, 12)), {})
    for name in ("mine", "generic-icru", "UCL_Toshiba", "auto"):
        ct = replace(p.ct, scanners=(CT1,))
        notes = prepare_ct(ct, p.body, calibration_for(name, ct)).notes
        assert any("not confirmed by this site" in note for note in notes), name


def conditions(**given: object) -> str:
    return "scanners: [{" + ", ".join(f"{k}: {v}" for k, v in given.items()) + "}]"


def test_the_one_with_the_most_conditions_that_hold_is_taken(folder: Path) -> None:
    files = {
        "maker": conditions(manufacturer="siemens"),
        "model": conditions(manufacturer="siemens", model="somatom confidence"),
        "voltage": conditions(manufacturer="siemens", model="somatom.*", kvp="[100, 120]"),
        "station": conditions(manufacturer="siemens", model="somatom.*", kvp="[120]", station="CT1"),
        "other": conditions(manufacturer="philips", model="big bore", station="CT1", kvp="[120]"),
    }
    for order in itertools.islice(itertools.permutations(files), 6):
        for i, name in enumerate(order):
            (folder / f"{i}.yaml").write_text(table(name, files[name]))
        assert calibration_for("auto", ct_of(CT1)).name == "station"
        assert calibration_for("auto", ct_of(replace(CT1, station="CT2"))).name == "voltage"
        assert calibration_for("auto", ct_of(replace(CT1, station="CT10", kvp=100.0))).name == "voltage"
        assert calibration_for("auto", ct_of(replace(CT1, kvp=80.0))).name == "model"
        assert calibration_for("auto", ct_of(replace(CT1, kvp=None, model="SOMATOM Force"))).name == "maker"
        nobody = calibration_for("auto", ct_of(Scanner("GE MEDICAL SYSTEMS", "Discovery", "CT1", 120.0)))
        assert nobody.name == "generic-icru"
        assert "no calibration of this site is for the CT's scanner (GE MEDICAL SYSTEMS Discovery" in nobody.notes[0]
        assert calibration_for("auto", ct_of()).name == "generic-icru"
        assert calibration_for("maker", ct_of(CT1)).name == "maker"


@pytest.mark.parametrize(
    ("condition", "scanner", "fits"),
    [
        ("station: CT1", replace(CT1, station="CT10"), False),
        ("station: CT1", replace(CT1, station="ACT1"), False),
        ("station: ct1", CT1, True),
        ("station: 'CT\\d'", CT1, True),
        ("manufacturer: siemens", CT1, True),
        ("manufacturer: siemens", replace(CT1, manufacturer="SIEMENS"), True),
        ("model: confide", CT1, False),
        ("model: 'confide.*'", CT1, True),
        ("kvp: [120]", replace(CT1, kvp=120.4), True),
        ("kvp: [120]", replace(CT1, kvp=140.0), False),
        ("kvp: [120]", replace(CT1, kvp=None), False),
        ("model: somatom|ingenuity", replace(CT1, model="Ingenuity"), True),
    ],
)
def test_names_fit_as_whole_words(folder: Path, condition: str, scanner: Scanner, fits: bool) -> None:
    (folder / "mine.yaml").write_text(table("mine", f"scanners: [{{{condition}}}]"))
    assert (calibration_for("auto", ct_of(scanner)).name == "mine") is fits


def test_two_that_fit_equally_well_are_refused(folder: Path) -> None:
    (folder / "a.yaml").write_text(table("a", conditions(manufacturer="siemens")))
    (folder / "b.yaml").write_text(table("b", conditions(station="CT1")))
    with pytest.raises(InputRefusedError, match=r"2 calibrations fit .* a \(a\.yaml\), b \(b\.yaml\)") as caught:
        calibration_for("auto", ct_of(CT1))
    assert caught.value.code is ErrorCode.AMBIGUOUS_CALIBRATION
    assert calibration_for("b", ct_of(CT1)).name == "b"


def test_images_of_scanners_with_different_calibrations_are_refused(folder: Path) -> None:
    (folder / "a.yaml").write_text(table("a", conditions(station="CT1", kvp="[120]")))
    (folder / "b.yaml").write_text(table("b", conditions(station="CT1", kvp="[80]")))
    low, high, odd = replace(CT1, kvp=80.0), CT1, replace(CT1, kvp=140.0)
    for scanners in ((low, high), (high, low), (high, odd), (low, high, odd)):
        with pytest.raises(RadiarchError, match="scanners with different calibrations") as caught:
            calibration_for("auto", ct_of(*scanners))
        assert caught.value.code is ErrorCode.AMBIGUOUS_CALIBRATION
    named = calibration_for("a", ct_of(low, high))
    assert "several scanners or tube voltages" in named.notes[-1]
    # Where both have the same one, it is theirs.
    (folder / "b.yaml").write_text(table("b", conditions(station="CT9")))
    (folder / "a.yaml").write_text(table("a", conditions(station="CT1")))
    both = calibration_for("auto", ct_of(low, high))
    assert both.name == "a"
    assert "80 kV" in both.notes[0]
    assert "120 kV" in both.notes[0]

"""A site's machines: beam data checked line by line, limits and confirmation beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_worker.engines.mcsquare import load_machine
from radiarch_worker.engines.mcsquare.installation import find_installation
from radiarch_worker.settings import Settings
from radiarch_worker.site_folders import Folders

from tests.worker.machines.site import site

SHIPPED = "BDL_default_UN_RangeShifter"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with site(tmp_path, "machines"):
        yield tmp_path / "machines"


def beam_data() -> str:
    return (find_installation().folder / "BDL" / f"{SHIPPED}.txt").read_text()


def test_a_machine_of_the_site_is_used_as_its_files_say(folder: Path) -> None:
    text = beam_data().replace("2234.8", "2000.5").replace("RS_WET = 73.1", "RS_WET = 41.5")
    (folder / "room-1.txt").write_text(text)
    machine = load_machine("room-1")
    assert (machine.smx_mm, machine.range_shifters["RS_Block"]) == (2000.5, 41.5)
    assert "2000.5" in machine.bdl_text
    assert machine.limits.spot_mu_min == 0.02
    assert "not confirmed" in machine.notes[0]
    (folder / "room-1.yaml").write_text(
        "title: Room 1\nconfirmed_by: A. Physicist\nconfirmed_on: 2026-05-04\nspot_mu_min: 0.003\nfield_x_mm: 120\n"
    )
    described = load_machine("room-1")
    assert (described.limits.spot_mu_min, described.limits.field_x_mm, described.limits.field_y_mm) == (0.003, 120, 200)
    assert described.notes == ()
    assert described.sha256 == machine.sha256
    (folder / "room-1.txt").write_text(text.replace("41.5", "42.5"))
    assert load_machine("room-1").range_shifters["RS_Block"] == 42.5
    assert load_machine("room-1").sha256 != machine.sha256


def test_a_machine_that_ships_can_be_confirmed(folder: Path) -> None:
    assert load_machine(SHIPPED).notes
    (folder / f"{SHIPPED}.yaml").write_text("confirmed_by: A. Physicist\nconfirmed_on: 2026-05-04\n")
    assert load_machine(SHIPPED).notes == ()


MISTAKES = {
    "another format": (("--UPenn beam model (double gaussian)--", "--Something--"), 1, ""),
    "no distance": (("1859.1", "near"), 11, "SMY to Isocenter distance"),
    "centimetres": (("2234.8", "223480"), 8, "SMX to Isocenter distance"),
    "a shifter without thickness": (("RS_WET = 73.1", "RS_wet"), 13, "RS_WET"),
    "a shifter of nothing": (("RS_density = 1.19", "RS_density = 0"), 17, "RS_density"),
    "an energy twice": (("105.000 \t", "100.000 \t"), 25, "NominalEnergy"),
    "a mean energy far off": (("105.680", "150.680"), 25, "MeanEnergy"),
    "text for a number": (("99238819.2", "many"), 25, "ProtonsMU"),
    "no protons": (("99238819.2", "0"), 25, "ProtonsMU"),
    "a correlation beyond 1": (("0.061976", "6.1976"), 25, "Correlation1x"),
    "a column too few": (("99238819.2 \t", ""), 25, "NominalEnergy"),
    "other columns": (("SpotSize1x", "SpotSizeX"), 23, "NominalEnergy"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_file_line_and_field(folder: Path, mistake: str) -> None:
    (old, new), line, field = MISTAKES[mistake]
    assert beam_data().count(old) >= 1
    (folder / "room-1.txt").write_text(beam_data().replace(old, new, 1))
    with pytest.raises(InvalidRequestError) as caught:
        load_machine("room-1")
    assert caught.value.code is ErrorCode.INVALID_MACHINE_DATA
    found = caught.value.info.details["problems"]
    assert ("room-1.txt", line, field) in [(p["file"], p["line"], p["field"]) for p in found], found
    assert load_machine(SHIPPED).name == SHIPPED


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("room-1.yaml", "title: Room 1\n", "there is no room-1.txt"),
        (f"{SHIPPED}.txt", "", "a machine of that name ships"),
        ("room 1.txt", "", "letters, digits"),
        (f"{SHIPPED}.yaml", "spot_mu_min: -1\n", "greater than 0"),
        (f"{SHIPPED}.yaml", "spot_mu_min: yes\n", "valid number"),
        (f"{SHIPPED}.yaml", "confirmed_by: X\n", "belong together"),
        (f"{SHIPPED}.yaml", "limits: 3\n", "Extra inputs"),
    ],
)
def test_descriptions_that_cannot_be_used_are_refused(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InvalidRequestError, match=said):
        load_machine(name.rpartition(".")[0] if " " not in name else "room-1")


def test_no_request_reaches_a_file_by_its_path(folder: Path) -> None:
    (folder.parent / "other.txt").write_text(beam_data())
    for name in ("../other", "other", "", "README"):
        with pytest.raises(InvalidRequestError, match="known are"):
            load_machine(name)


def test_a_worker_is_told_the_folders_and_does_not_start_without_one_that_is_named(tmp_path: Path) -> None:
    default = Settings.from_env({}).site
    assert default.machines.name == "machines"
    assert default.machines.is_dir()
    assert default.calibrations.is_dir()
    given = Settings.from_env({"RADIARCH_CALIBRATIONS_FOLDER": str(tmp_path)}).site
    assert given == Folders(tmp_path, default.machines)
    with pytest.raises(InvalidRequestError, match=r"RADIARCH_MACHINES_FOLDER.*no folder"):
        Settings.from_env({"RADIARCH_MACHINES_FOLDER": str(tmp_path / "gone")})

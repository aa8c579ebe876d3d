"""A mistake in a protocol's file is named with file, line and field, and hides no other file."""

from __future__ import annotations

from pathlib import Path

import pytest
from radiarch_contract.errors import ErrorCode, NotFoundError
from radiarch_plugin.protocols.loaded import InvalidProtocolsError, ProtocolSet, load_protocols, read_protocol

GOOD = """\
id: prostate
title: Prostate
prescription: {target: PTV, dose_gy: 76, fractions: 35}
workflow: proton-impt-optimized
beams:
  - {gantry_deg: 90}
  - {gantry_deg: 270}
objectives:
  - {structure: PTV, metric: DUniform, dose_gy: 76, weight: 100}
  - {structure: Rectum, metric: DMeanMax, dose_gy: 20}
goals:
  - 'PTV: D95% ≥ 95%'
calculation:
  spot_spacing_mm: 6
"""


def problems(folder: Path) -> list[tuple[str, int, str]]:
    told = load_protocols(folder).problems
    assert {e.code for e in told} == {ErrorCode.INVALID_PROTOCOL}
    return [(p["file"], p["line"], p["field"]) for e in told for p in e.details["problems"]]


def test_a_good_file_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "prostate.yaml"
    path.write_text(GOOD, encoding="utf-8")
    loaded = read_protocol(path)
    assert loaded.protocol.parameters()["spot_spacing_mm"] == 6
    assert [b.gantry_deg for b in loaded.protocol.beams] == [90, 270]
    assert len(loaded.sha256) == 64


@pytest.mark.parametrize(
    ("wrong", "right", "line", "field"),
    [
        ("dose_gy: 76,", "dose_gy: -1,", 3, "prescription.dose_gy"),
        ("fractions: 35", "fraction: 35", 3, "prescription.fractions"),
        ("{gantry_deg: 270}", "{gantry_deg: 400}", 7, "beams.1.gantry_deg"),
        ("metric: DMeanMax", "metric: DMeen", 10, "objectives.1.metric"),
        ("metric: DMeanMax", "metric: DVHMax", 10, "objectives.1"),
        ("D95% ≥ 95%", "D95 ≥ 95%", 12, "goals.0"),
        ("spot_spacing_mm: 6", "spot_spacing_mm: 600", 14, "calculation.spot_spacing_mm"),
        ("spot_spacing_mm: 6", "spot_spacing: 6", 14, "calculation.spot_spacing"),
        ("workflow: proton-impt-optimized", "workflow: photon", 4, "workflow"),
        ("title: Prostate", "titel: Prostate", 2, "titel"),
        ("title: Prostate", "id: other", 2, "id"),
        ("id: prostate", "id: Prostate!", 1, "id"),
        ("  - {gantry_deg: 270}", "  - {gantry_deg: 270", 8, ""),
        ("dose_gy: 76,", "dose_gy: .nan,", 3, "prescription.dose_gy"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, wrong: str, right: str, line: int, field: str) -> None:
    assert wrong in GOOD
    (tmp_path / "p.yaml").write_text(GOOD.replace(wrong, right, 1), encoding="utf-8")
    assert ("p.yaml", line, field) in problems(tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"[1, 2]", b"\xff\xfe", b"id: &a [*a]", b"id: 2024-99-99", b"a: !!python/object:os.system {}", b"- " * 5000],
    ids=["empty", "list", "not-utf8", "self-reference", "no-date", "python-tag", "deep"],
)
def test_what_is_no_protocol_is_named_too(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.yaml").write_bytes(data)
    assert {p[0] for p in problems(tmp_path)} == {"p.yaml"}


def test_every_mistake_of_every_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("dose_gy: 76, f", "dose_gy: 0, f"), encoding="utf-8")
    (tmp_path / "b.yml").write_text("id: b\n", encoding="utf-8")
    assert {p[0] for p in problems(tmp_path)} == {"a.yaml", "b.yml"}


def test_of_two_files_with_one_id_neither_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.yaml").write_text("# the same\n" + GOOD, encoding="utf-8")
    (tmp_path / "c.yaml").write_text(GOOD.replace("id: prostate", "id: other"), encoding="utf-8")
    assert problems(tmp_path) == [("a.yaml", 1, "id"), ("b.yaml", 2, "id")]
    assert [p.protocol.id for p in load_protocols(tmp_path).items] == ["other"]


def test_a_mistake_hides_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("fractions: 35", "fractions: true"), encoding="utf-8")
    (tmp_path / "b.yaml").write_text(GOOD.replace("id: prostate", "id: other"), encoding="utf-8")
    (tmp_path / "c.yaml").write_bytes(b"\xff")
    (tmp_path / "d.yaml").symlink_to(tmp_path / "gone")
    (tmp_path / "e.yaml").mkdir()
    found = load_protocols(tmp_path)
    assert [p.protocol.id for p in found.items] == ["other"]
    assert [b.file for b in found.broken] == ["a.yaml", "c.yaml"]
    with pytest.raises(InvalidProtocolsError, match=r"a\.yaml, line 3, field prescription\.fractions"):
        found.get("prostate")


def test_a_missing_folder_is_told_and_an_empty_one_is_nothing_to_tell(tmp_path: Path) -> None:
    assert load_protocols(tmp_path) == ProtocolSet()
    found = load_protocols(tmp_path / "none")
    assert found.items == ()
    (problem,) = found.problems
    assert "does not exist" in problem.message
    (tmp_path / "file").write_text("")
    assert load_protocols(tmp_path / "file").problems


def test_an_unknown_id_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, encoding="utf-8")
    protocols = load_protocols(tmp_path)
    assert protocols.get("prostate").file == "a.yaml"
    with pytest.raises(NotFoundError, match="prostate"):
        protocols.get("lung")

"""The first protocol by priority whose every condition holds; where none does, why not, for each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_contract.errors import ErrorCode
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi
from radiarch_plugin.dicom.rtstruct import RtstructFacts
from radiarch_plugin.protocols.loaded import BrokenProtocol, LoadedProtocol, ProtocolSet, load_protocols
from radiarch_plugin.protocols.matching import Matched, NotMatched, match, starting_from

FACTS = RtstructFacts(
    sop_instance_uid="1.2.3",
    patient_id="P",
    study_instance_uid="1.2",
    series_instance_uid="1.2.1",
    sha256="0" * 64,
    rois=tuple(Roi(number=i, name=n) for i, n in enumerate(("BODY", "PTV", "Rectum", "Femoral_head-L"), 1)),
    study_description="Prostate planning",
    calling_ae="CT1",
)


def protocol(id: str = "p", **fields: Any) -> LoadedProtocol:
    values = {
        "id": id,
        "title": id,
        "prescription": {"target": "PTV", "dose_gy": 76, "fractions": 35},
        "workflow": "proton-impt-basic",
    } | fields
    return LoadedProtocol(Protocol.model_validate(values), f"{id}.yaml", "0" * 64)


def in_use(*protocols: LoadedProtocol | BrokenProtocol) -> ProtocolSet:
    return ProtocolSet(
        tuple(p for p in protocols if isinstance(p, LoadedProtocol)),
        tuple(p for p in protocols if isinstance(p, BrokenProtocol)),
    )


def taken(*protocols: LoadedProtocol | BrokenProtocol, facts: RtstructFacts = FACTS) -> str | ErrorCode:
    result = match(in_use(*protocols), facts)
    return result.protocol.id if isinstance(result, Matched) else result.error.code


def test_priority_wins_then_the_id() -> None:
    low, b, a = protocol("low", priority=1), protocol("b", priority=5), protocol("a", priority=5)
    assert taken(low, b, a) == "a"
    assert taken(low, b) == "b"


@given(st.permutations([protocol(i, priority=p) for i, p in (("a", 0), ("b", 3), ("c", 3), ("d", -1))]))
def test_the_order_of_the_files_does_not_matter(protocols: list[LoadedProtocol]) -> None:
    assert taken(*protocols) == "b"


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"study_description": "prostat"}, True),
        ({"study_description": "^planning"}, False),
        ({"series_description": "."}, False),
        ({"structure_set_label": "^$"}, True),
        ({"calling_ae": ["CT2", "CT1"]}, True),
        ({"calling_ae": ["CT2"]}, False),
        ({"structures": ["Rectum"]}, True),
        ({"structures": ["Bladder"]}, False),
        ({"structures": ["Femur_Head_L"]}, True),
        ({"structures": ["Femur_Head_R"]}, False),
        ({"study_description": "prostat", "calling_ae": ["CT2"]}, False),
        ({}, True),
    ],
)
def test_every_condition_must_hold(condition: dict[str, Any], fits: bool) -> None:
    assert (taken(protocol(match=condition)) == "p") is fits


def test_a_required_selector_must_be_found_and_another_need_not() -> None:
    required = {"Bladder": {"required": True}}
    assert taken(protocol(structures=required)) is ErrorCode.NO_PROTOCOL
    assert taken(protocol(structures={"Bladder": {}})) == "p"


def test_a_disabled_protocol_is_never_taken() -> None:
    assert taken(protocol(enabled=False)) is ErrorCode.NO_PROTOCOL


def test_where_only_the_target_is_missing_the_error_says_so() -> None:
    facts = replace(FACTS, rois=tuple(r for r in FACTS.rois if r.name != "PTV"))
    result = match(in_use(protocol("a", match={"calling_ae": ["X"]}), protocol("b")), facts)
    assert isinstance(result, NotMatched)
    assert result.error.code is ErrorCode.NO_TARGET
    assert {p["protocol_id"] for p in result.error.info.details["protocols"]} == {"a", "b"}
    assert result.error.info.details["structures"] == ["BODY", "Rectum", "Femoral_head-L"]


def test_no_protocols_is_no_protocol() -> None:
    assert taken() is ErrorCode.NO_PROTOCOL


def test_names_of_goals_and_objectives_are_resolved_and_the_missing_are_told() -> None:
    goals = ["Femur_Head_L: D2% <= 42 Gy", "Bladder: Dmean <= 20 Gy"]
    result = match(in_use(protocol(goals=goals)), FACTS)
    assert isinstance(result, Matched)
    assert {r.name: r.roi_name for r in result.structures} == {"PTV": "PTV", "Femur_Head_L": "Femoral_head-L"}
    assert result.missing == ("Bladder",)


def with_rois(*names: str, types: dict[str, str] | None = None) -> RtstructFacts:
    rois = (Roi(number=i, name=n, interpreted_type=(types or {}).get(n, "")) for i, n in enumerate(names, 1))
    return replace(FACTS, rois=tuple(rois))


def test_an_ambiguous_target_is_refused_with_its_rois_and_no_other_protocol_is_taken_instead() -> None:
    facts = with_rois("BODY", "PTV", "PTV", "Other")
    other = protocol("z-other", priority=1, prescription={"target": "Other", "dose_gy": 8, "fractions": 1})
    result = match(in_use(protocol(priority=2), other), facts)
    assert isinstance(result, NotMatched)
    assert result.error.code is ErrorCode.AMBIGUOUS_STRUCTURE
    assert "'PTV' (ROI 2), 'PTV' (ROI 3)" in str(result.error)
    assert [r.code for r in result.refusals] == [ErrorCode.AMBIGUOUS_STRUCTURE]


@pytest.mark.parametrize(
    "fields",
    [
        {"goals": ["Rectum: Dmean <= 20 Gy"]},
        {"match": {"structures": ["Rectum"]}},
        {"structures": {"Organ": {"patterns": ["rect.*"]}}},
        {
            "workflow": "proton-impt-optimized",
            "objectives": [{"structure": "Rectum", "metric": "DMeanMax", "dose_gy": 20}],
        },
        {"derived": {"Ring": "PTV minus Rectum"}},
        {"calculation": {"overrides": [{"structure": "Rectum", "hu": 0}]}},
    ],
)
def test_an_ambiguous_organ_is_refused_though_the_plan_could_be_made_without_it(fields: dict[str, Any]) -> None:
    facts = with_rois("BODY", "PTV", "rectum", "RECTUM")
    assert taken(protocol(**fields), facts=facts) is ErrorCode.AMBIGUOUS_STRUCTURE
    assert taken(protocol(), facts=facts) == "p"  # nobody asks for it


@pytest.mark.parametrize(
    ("names", "types"),
    [
        (("PTV", "A", "B"), {"A": "EXTERNAL", "B": "EXTERNAL"}),
        (("PTV", "BODY", "BODY"), {}),
        (("PTV", "Skin", "External"), {}),
    ],
)
def test_an_ambiguous_outline_is_refused_though_nobody_names_it(names: tuple[str, ...], types: dict[str, str]) -> None:
    facts = with_rois(*names, types=types)
    assert taken(protocol(), facts=facts) is ErrorCode.AMBIGUOUS_STRUCTURE
    assert taken(protocol(structures={"BODY": {"names": [names[1]]}}), facts=facts) == (
        ErrorCode.AMBIGUOUS_STRUCTURE if names[1] == names[2] else "p"
    )


def test_a_protocol_that_does_not_fit_is_passed_over_whatever_is_ambiguous_for_it() -> None:
    facts = with_rois("BODY", "PTV", "Rectum", "rectum ", "RECTUM")
    first = protocol("a", priority=9, goals=["rECTUM: Dmean <= 20 Gy"], match={"structures": ["Bladder"]})
    assert taken(first, protocol("b"), facts=facts) == "b"


GOOD = """\
id: mistyped
title: Mistyped
priority: 9
match: {study_description: prostat, structures: [Rectum]}
structures:
  PTV: {names: [PTV_76]}
prescription: {target: PTV, dose_gy: 76, fractions: 35}
workflow: proton-impt-basic
beam_count: 2
"""


def broken(tmp_path: Path, *changes: tuple[str, str]) -> BrokenProtocol:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / "mistyped.yaml").write_text(text, encoding="utf-8")
    (found,) = load_protocols(tmp_path).broken
    return found


MISTAKES = [
    ("fractions: 35", "fractions: true"),
    ("dose_gy: 76", 'dose_gy: "76"'),
    ("title: Mistyped", "titel: Mistyped"),
    ("beam_count: 2", "beam_count: 99"),
    ("workflow: proton-impt-basic", "workflow: proton-impt-basik"),
    ("priority: 9", "priority: high"),
    ("match: {study", "match: {calling_aet: [X], study"),
    ("names: [PTV_76]", "nmaes: [PTV_76]"),
    ("id: mistyped", "id: Mistyped!"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[new for _, new in MISTAKES])
def test_what_a_mistyped_protocol_was_for_is_not_planned_by_another(tmp_path: Path, mistake: tuple[str, str]) -> None:
    item = broken(tmp_path, mistake)
    other, before = protocol("other", priority=0), protocol("before", priority=10)
    result = match(in_use(item, other), FACTS)
    assert isinstance(result, NotMatched)
    assert result.error.code is ErrorCode.INVALID_PROTOCOL
    assert "mistyped.yaml, line " in str(result.error)
    assert result.error.info.details["problems"][0]["file"] == "mistyped.yaml"
    # a patient that it was not for is planned as ever, and so is one for which another protocol comes first
    lung = replace(FACTS, study_description="Lung")
    assert taken(item, other, facts=lung) == "other"
    without = replace(FACTS, rois=tuple(r for r in FACTS.rois if r.name != "Rectum"))
    assert taken(item, other, facts=without) == "other"
    if "priority" not in mistake[0]:
        assert taken(item, before) == "before"


@pytest.mark.parametrize(
    "mistake",
    [
        ("target: PTV", "tagret: PTV"),
        ("prescription: {", "prescription: ["),
        ("id: mistyped", "id: mistyped\nenabled: false\nx: 1"),
        ("id: mistyped", "\tid"),
    ],
)
def test_a_file_that_says_too_little_stops_nothing(tmp_path: Path, mistake: tuple[str, str]) -> None:
    assert taken(broken(tmp_path, mistake), protocol("other")) == "other"


def test_a_mistyped_check_is_told_for_what_arrives(tmp_path: Path) -> None:
    text = ("workflow: proton-impt-basic", "workflow: recalculation")
    item = broken(tmp_path, text, ("beam_count: 2", "calculation: {seed: 0}"))
    assert [p.id for p in starting_from("rtplan", in_use(item)) if isinstance(p, BrokenProtocol)] == ["mistyped"]
    assert taken(item, protocol("other")) == "other"  # structure sets are none of its business


def test_a_missing_body_does_not_stop_a_match() -> None:
    facts = replace(FACTS, rois=tuple(r for r in FACTS.rois if r.name != "BODY"))
    assert taken(protocol(match={"structures": ["BODY"]}), facts=facts) == "p"


@pytest.mark.parametrize(
    ("roi", "fields", "taken_by"),
    [
        ("PTV_76", {}, "p"),
        ("PTV_7600", {}, "p"),
        ("PTV_60", {}, ErrorCode.NO_TARGET),
        ("ptv 60Gy", {"structures": {"PTV": {"patterns": ["ptv.*"]}}}, ErrorCode.NO_TARGET),
        ("PTV_60", {"structures": {"PTV": {"names": ["PTV_60"]}}}, "p"),
    ],
)
def test_a_target_that_is_named_for_another_dose_is_not_meant(
    roi: str, fields: dict[str, Any], taken_by: str | ErrorCode
) -> None:
    facts = replace(FACTS, rois=(Roi(number=1, name="BODY"), Roi(number=2, name=roi)))
    assert taken(protocol(**fields), facts=facts) == taken_by
    sixty = protocol("sixty", prescription={"target": "PTV", "dose_gy": 60, "fractions": 30}, priority=-1)
    assert taken(protocol(**fields), sixty, facts=facts) == ("sixty" if taken_by is ErrorCode.NO_TARGET else taken_by)

"""The protocols that ship, together: those to start from change nothing of what arrives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from radiarch_contract.structures import Roi
from radiarch_plugin.dicom.rtstruct import RtstructFacts
from radiarch_plugin.protocols.loaded import ProtocolSet, load_protocols
from radiarch_plugin.protocols.matching import Matched, match

from phantoms import SITES

SHIPPED = load_protocols(Path(__file__).parents[3] / "orthanc-config" / "protocols")
BEFORE = replace(SHIPPED, items=tuple(p for p in SHIPPED.items if p.protocol.id not in SITES))
TARGETS = (
    "PTV",
    "PTV_60",
    "ptv 50Gy",
    "PTV_opt",
    "zPTV",
    "_PTV",
    "PTV1",
    "P.T.V.",
    "CTV_60",
    "GTV",
    "ptv!",
    "Target",
    "OuterTarget",
)
ORGANS = (
    *("Brainstem", "Chiasm", "Cord", "Parotid L", "Right Parotid", "Lung Total", "Left Lung", "Heart", "Breast Left"),
    *(
        "Breast_R",
        "Lung_R",
        "Brain",
        "Kidney_L",
        "Kidney_R",
        "SpinalCord",
        "Rectum",
        "Bladder",
        "Core",
        "BODY",
        "External",
    ),
)


def planned_with(protocols: ProtocolSet, facts: RtstructFacts) -> str:
    found = match(protocols, facts)
    return found.protocol.id if isinstance(found, Matched) else found.error.code.value


def test_all_of_them_are_there() -> None:
    assert not SHIPPED.problems
    assert len(SHIPPED.items) == len(BEFORE.items) + len(SITES)


@given(st.lists(st.sampled_from(TARGETS), max_size=3), st.lists(st.sampled_from(ORGANS), max_size=8, unique=True))
@example(["PTV"], ["Brainstem", "Chiasm"])
@example([], ["Breast Left", "Left Lung", "Heart"])
@example(["PTV_60", "ptv 50Gy"], ["Lung Total", "Heart", "Cord"])
def test_no_structure_set_is_planned_otherwise_for_those_to_start_from(targets: list[str], organs: list[str]) -> None:
    rois = tuple(Roi(number=i, name=n) for i, n in enumerate([*targets, *organs], start=1))
    facts = RtstructFacts("1.2", "P", "1.3", "1.4", "0" * 64, rois=rois)
    assert planned_with(SHIPPED, facts) == planned_with(BEFORE, facts)


@pytest.mark.parametrize("name", SITES)
def test_a_site_that_raises_the_priority_plans_with_it(name: str) -> None:
    (item,) = (p for p in SHIPPED.items if p.protocol.id == name)
    raised = replace(item, protocol=item.protocol.model_copy(update={"priority": 500}))
    protocols = replace(SHIPPED, items=tuple(raised if p is item else p for p in SHIPPED.items))
    names = [*item.protocol.target_names(), *item.protocol.match.structures]
    rois = tuple(Roi(number=i, name=n) for i, n in enumerate(names, start=1))
    assert planned_with(protocols, RtstructFacts("1.2", "P", "1.3", "1.4", "0" * 64, rois=rois)) == name

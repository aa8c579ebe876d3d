"""Derived structures, further targets, overrides in requests and protocols: the structures behind them must exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from radiarch_contract.errors import ErrorCode
from radiarch_contract.protocol_file import InvalidProtocolsError, read_protocol
from radiarch_contract.structures import Roi
from radiarch_plugin.protocols.matching import Matched, NotMatched, match

from phantoms import PhantomStudy

from .conftest import Api
from .test_matching import FACTS, in_use, protocol
from .test_plans import BASIC, asked, refused, stored


def test_a_derived_target_is_looked_for_by_its_parts(api: Api, study: PhantomStudy) -> None:
    uid = stored(api, study)
    plan = asked(
        api,
        uid,
        workflow_id="proton-impt-basic",
        prescription={
            "target": "Eval",
            "dose_gy": 50,
            "fractions": 25,
            "more": [{"target": "Inner", "dose_gy": 55}],
        },
        derived={"Eval": "PTV grown 2 mm", "Inner": "PTV shrunk 5 mm"},
        goals=[{"goal": "Inner: D95% >= 95%", "priority": 1}, "Eval: D2% <= 107%, priority 2"],
    )
    assert [s["name"] for s in plan["structures"]] == ["PTV"]
    assert plan["missing_structures"] == []
    assert plan["parameters"]["derived"] == {"Eval": "PTV grown 2 mm", "Inner": "PTV shrunk 5 mm"}
    assert plan["prescription"]["more"] == [{"target": "Inner", "dose_gy": 55}]
    assert [g["text"] for g in plan["goals"]] == [
        "Inner: D95% ≥ 95%, priority 1",
        "Eval: D2% ≤ 107%, priority 2",
    ]


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"derived": {"A": "PTV minus Liver"}}, ErrorCode.UNKNOWN_STRUCTURE, "'Liver'"),
        ({"derived": {"A": "PTV minus"}}, ErrorCode.INVALID_REQUEST, "character 10 is the end"),
        ({"derived": {"A": "A or PTV"}}, ErrorCode.INVALID_REQUEST, "made of itself"),
        ({"parameters": {"overrides": [{"structure": "Metal", "hu": 3000}]}}, ErrorCode.UNKNOWN_STRUCTURE, "'Metal'"),
        ({"parameters": {"overrides": [{"structure": "PTV"}]}}, ErrorCode.INVALID_REQUEST, "hu or density_g_cm3"),
        ({"goals": [{"goal": "PTV: D95% >= 95%", "priority": 0}]}, ErrorCode.INVALID_REQUEST, "priority"),
        ({"goals": ["PTV: D95% >= 95%, first"]}, ErrorCode.INVALID_REQUEST, "character 19"),
    ],
)
def test_what_cannot_be_found_or_read_is_refused(
    api: Api, study: PhantomStudy, fields: dict[str, Any], code: ErrorCode, said: str
) -> None:
    error = refused(api, stored(api, study), **{**BASIC, **fields})
    assert error["code"] == code
    assert said in str(error)


def test_a_protocol_with_a_derived_target_fits_where_its_parts_are() -> None:
    fields: dict[str, Any] = {
        "prescription": {"target": "Eval", "dose_gy": 60, "fractions": 30, "more": [{"target": "GTV", "dose_gy": 66}]},
        "derived": {"Eval": "PTV minus Rectum"},
    }
    loaded = protocol(**fields)
    found = match(in_use(loaded), FACTS)
    assert isinstance(found, NotMatched)
    assert found.error.code is ErrorCode.NO_TARGET
    assert "no ROI stands for the target GTV" in str(found.refusals[0].reason)
    with_gtv = replace(FACTS, rois=(*FACTS.rois, Roi(number=9, name="GTV")))
    fits = match(in_use(loaded), with_gtv)
    assert isinstance(fits, Matched)
    assert {s.name for s in fits.structures} == {"PTV", "Rectum", "GTV"}
    # A derived structure is never searched for by its own name.
    named = replace(with_gtv, rois=(*with_gtv.rois, Roi(number=10, name="Eval")))
    again = match(in_use(loaded), named)
    assert isinstance(again, Matched)
    assert {s.name for s in again.structures} == {"PTV", "Rectum", "GTV"}


def test_a_required_derived_structure_requires_its_parts() -> None:
    loaded = protocol(match={"structures": ["Ring"]}, derived={"Ring": "(Bladder grown 5 mm) minus PTV"})
    found = match(in_use(loaded), FACTS)
    assert isinstance(found, NotMatched)
    assert "no ROI stands for Bladder" in found.refusals[0].reason


def test_mistakes_in_a_protocols_file_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        """id: p
title: P
prescription: {target: PTV, dose_gy: 60, fractions: 30}
workflow: proton-impt-optimized
objectives:
  - {structure: PTV, metric: DUniform, dose_gy: 60}
derived:
  Ring: PTV grown 20 mm minus PTV
  Eval: PTV minus Rectum or Bladder
calculation:
  overrides:
    - {structure: Metal, hu: 3000}
    - {structure: Bolus, hu: 0, density_g_cm3: 1}
goals:
  - 'PTV: D95% ≥ 95%'
  - goal: 'PTV: D2% ≤ 107'
    priority: 1
"""
    )
    with pytest.raises(InvalidProtocolsError) as caught:
        read_protocol(path)
    found = {p.field: (p.line, p.message) for p in caught.value.problems}
    line, message = found["derived.Eval"]
    assert line == 9
    assert "character 18 is 'o', expected parentheses" in message
    assert any(field.startswith("goals.1") and at == 16 for field, (at, _) in found.items())
    path.write_text(path.read_text().replace(" or Bladder", "").replace("≤ 107", "≤ 107%"))
    with pytest.raises(InvalidProtocolsError) as later:
        read_protocol(path)
    assert [(p.line, p.field) for p in later.value.problems] == [(13, "calculation.overrides.1")]

"""Suggestions for names that are not known, and findings in plain words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.findings import findings
from radiarch_contract.near import nearest, suggestion
from radiarch_contract.protocol import Protocol
from radiarch_contract.workflows import WORKFLOWS, get_workflow, parse_parameters


@pytest.mark.parametrize("known", [*WORKFLOWS, "ID", "", "ж" * 300])
def test_a_known_name_is_the_nearest_to_itself(known: str) -> None:
    assert nearest(known[:200], ["x" * 9, known[:200]])[:1] == (known[:200],)


def test_what_is_like_nothing_gets_no_suggestion() -> None:
    assert suggestion("qqqqq", WORKFLOWS) == ""
    assert suggestion("anything", []) == ""


def test_names_that_differ_in_case_only_are_all_suggested() -> None:
    assert nearest("ptv", ["PTV", "Ptv", "CTV"])[:2] == ("PTV", "Ptv")


def test_a_mistyped_workflow() -> None:
    with pytest.raises(InvalidRequestError, match="did you mean 'recalculation'"):
        get_workflow("recalcluation")


def test_a_mistyped_parameter_at_any_depth() -> None:
    with pytest.raises(InvalidRequestError, match="seeed: there is no such field; did you mean 'seed'"):
        parse_parameters("proton-impt-basic", {"beam_count": 2, "seeed": 1})
    with pytest.raises(InvalidRequestError, match=r"beams.0.gantry: .* did you mean 'gantry_deg'"):
        parse_parameters("proton-impt-basic", {"beams": [{"gantry_deg": 1, "gantry": 90}]})


def test_a_mistyped_field_of_a_protocol() -> None:
    with pytest.raises(ValidationError) as e:
        Protocol.model_validate({"id": "a", "presciption": {}, "prescription": {"dose": 60}})
    told = {f["field"]: f["message"] for f in findings(e.value.errors(), Protocol)}
    assert told["presciption"].startswith("there is no such field; did you mean 'prescription'")
    assert told["prescription.dose"] == "there is no such field; did you mean 'dose_gy'?"

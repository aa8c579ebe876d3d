"""Nothing is converted: a number is a number in every field of everything that people write, and text is text."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from radiarch_contract import plain_yaml
from radiarch_contract.check_parameters import GammaCriteria
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.job import JobInput, JobSpec, SessionRef
from radiarch_contract.objectives import Objective
from radiarch_contract.protocol import Protocol
from radiarch_contract.protocol_file import InvalidProtocolsError, read_protocol
from radiarch_contract.strict import STORED, Asked, Strict
from radiarch_contract.structures import Roi, StructureRef, StructureSelector
from radiarch_contract.workflows import WORKFLOWS, Prescription, parse_parameters

OBJECTIVE = {"structure": "PTV", "metric": "DVHMin", "dose_gy": 60, "volume_percent": 95.5, "weight": 10}
OVERRIDE = {"structure": "Hip", "hu": 3000.5, "extend_body": True}
PRESCRIPTION = {"target": "PTV", "dose_gy": 60, "fractions": 30, "more": [{"target": "CTV", "dose_gy": 66.5}]}
PLANNED = {
    "derived": {"Ring": "PTV grown 5 mm"},
    "beams": [{"gantry_deg": 90, "couch_deg": 10.5, "name": "left", "range_shifter": "none"}],
    "spot_spacing_mm": 6,
    "final_primaries": 20_000,
    "spot_mu_min": 1.5,
    "normalization": "D95% = 100%",
    "seed": 7,
    "let": True,
    "isocenter_mm": [1, 2.5, -3],
    "overrides": [OVERRIDE],
}
PHOTONS: dict[str, Any] = {
    "objectives": [OBJECTIVE],
    "machine": "generic-120",
    "target_margin_mm": 6.5,
    "correction_rounds": 2,
    "seed": 7,
    "overrides": [OVERRIDE],
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "proton-impt-basic": PLANNED,
    "proton-impt-optimized": PLANNED
    | {
        "objectives": [OBJECTIVE],
        "tune_to_goals": {"max_rounds": 5, "weight_limits": [0.5, 2], "dose_limits": [0.9, 1.1]},
    },
    "proton-robust": PLANNED
    | {
        "objectives": [OBJECTIVE | {"robust": True}],
        "setup_systematic_mm": [3, 3.5, 3],
        "strategy": "RANDOM",
        "scenario_count": 9,
    },
    "photon-imrt": PHOTONS
    | {"beams": [{"gantry_deg": 90, "collimator_deg": 5}], "apertures": 20, "aperture_mu_min": 1.5},
    "photon-vmat": PHOTONS
    | {"arcs": [{"start_deg": 181, "stop_deg": 179, "direction": "clockwise"}], "control_point_spacing_deg": 4},
    "evaluation": {"gamma": {"dose_percent": 2, "distance_mm": 2.5, "normalization": "local", "cutoff_percent": 5}},
    "recalculation": {"meterset_scale": 1, "uncertainty_percent": 2.5, "seed": 3, "overrides": [OVERRIDE]},
}
PROTOCOL = {
    "id": "p",
    "title": "P",
    "description": "Two\nlines",
    "priority": 5,
    "enabled": True,
    "match": {"structures": ["Rectum"], "study_description": "prostat", "calling_ae": ["CT1"]},
    "structures": {"PTV": {"names": ["PTV_60"], "patterns": ["ptv.*"], "required": True}},
    "prescription": PRESCRIPTION,
    "workflow": "proton-impt-optimized",
    "beam_count": 2,
    "objectives": [OBJECTIVE],
    "goals": ["PTV: D95% >= 95%", {"goal": "Rectum: Dmean <= 20 Gy", "priority": 2, "tolerance": 0.5}],
    "derived": {"Ring": "PTV grown 5 mm"},
}
WHOLE = [
    *((f"parameters of {name}", WORKFLOWS[name].parameters, values) for name, values in PARAMETERS.items()),
    ("protocol", Protocol, PROTOCOL),
    ("prescription", Prescription, PRESCRIPTION),
    ("objective", Objective, OBJECTIVE),
]


def leaves(value: Any, where: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every scalar in a JSON value, with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*where, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from leaves(item, (*where, i))
    else:
        yield where, value


def changed(value: Any, where: tuple[str | int, ...], leaf: Any) -> Any:
    """A JSON value with another scalar in one place."""
    result = copy.deepcopy(value)
    inner = result
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = leaf
    return result


def wrong_for(value: Any) -> list[Any]:
    """What no field for such a value may take."""
    if isinstance(value, bool):
        return [1, 0, "true", "yes", 1.0]
    if isinstance(value, int | float):
        bad = [True, False, str(value), f" {value} ", float("nan"), float("inf"), float("-inf"), "1e2", [value]]
        return [*bad, {"value": value}]
    return [f"{value}\0", f"\x1b{value}", f"{value}\x7f", 5, True, ["a"]]


CASES = [
    pytest.param(model, values, where, value, id=f"{name}: {'.'.join(map(str, where))}")
    for name, model, values in WHOLE
    for where, value in leaves(values)
]


@pytest.mark.parametrize(("name", "model", "values"), WHOLE, ids=[name for name, _, _ in WHOLE])
def test_whole_numbers_do_where_fractions_may_be_given(name: str, model: type[Asked], values: dict[str, Any]) -> None:
    made = model.model_validate(values)
    assert model.model_validate_json(json.dumps(values)) == made
    assert model.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(("model", "values", "where", "value"), CASES)
def test_every_field_takes_its_own_type_only(
    model: type[Asked], values: dict[str, Any], where: tuple[str | int, ...], value: Any
) -> None:
    for wrong in wrong_for(value):
        bad = changed(values, where, wrong)
        with pytest.raises(ValidationError):
            model.model_validate(bad)
        with pytest.raises(ValidationError):
            model.model_validate_json(json.dumps(bad))


WHOLE_NUMBERS = ["fractions", "seed", "beam_count", "final_primaries", "max_rounds", "scenario_count", "priority"]
COUNTS = [case for case in CASES if case.values[2][-1] in WHOLE_NUMBERS]  # type: ignore[index]


@pytest.mark.parametrize(("model", "values", "where", "value"), COUNTS)
def test_a_count_is_a_whole_number(
    model: type[Asked], values: dict[str, Any], where: tuple[str | int, ...], value: Any
) -> None:
    for wrong in (value + 0.5, float(value)):
        with pytest.raises(ValidationError):
            model.model_validate(changed(values, where, wrong))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_whatever_is_given_for_a_dose_is_a_finite_number_or_refused(value: Any) -> None:
    try:
        made = Prescription.model_validate(PRESCRIPTION | {"dose_gy": value, "more": []})
    except ValidationError:
        return
    assert type(value) in (int, float)
    assert made.dose_gy == value
    assert 0 < made.dose_gy <= 120


@given(st.text(min_size=1, max_size=30))
def test_a_name_is_kept_as_it_is_or_refused(text: str) -> None:
    try:
        made = Prescription.model_validate(PRESCRIPTION | {"target": text, "more": []})
    except ValidationError:
        return
    assert made.target == text
    assert text.isprintable() or all(ord(c) >= 0xA0 for c in text if not c.isprintable())


def test_texts_are_bounded() -> None:
    for model, values in (
        (StructureSelector, {"names": ["x" * 1001]}),
        (Protocol, PROTOCOL | {"match": {"calling_ae": ["x" * 1001]}}),
        (Protocol, PROTOCOL | {"description": "x" * 10_001}),
    ):
        with pytest.raises(ValidationError, match="at most"):
            model.model_validate(values)


def test_names_from_dicom_are_not_judged_but_their_numbers_are() -> None:
    assert StructureRef(name="PTV", roi_number=1, roi_name="PTV\x1b").roi_name == "PTV\x1b"
    wrong: list[tuple[type[Strict], dict[str, Any]]] = [
        (StructureRef, {"name": "PTV", "roi_number": "1", "roi_name": "PTV"}),
        (Roi, {"number": True, "name": "PTV"}),
        (JobInput, {"kind": "rtdose", "sop_instance_uid": 12}),
        (SessionRef, {"id": 0, "token": "a"}),
    ]
    for model, values in wrong:
        with pytest.raises(ValidationError):
            model.model_validate(values)


@pytest.mark.parametrize("spec", json.loads((Path(__file__).parent / "job_specs_0.1.0.json").read_text()))
def test_what_version_0_1_0_has_stored_is_still_read(spec: dict[str, Any]) -> None:
    """Made by it from input that is refused now: "fractions": true, "dose_gy": "60", a name with NUL."""
    made = JobSpec.model_validate(spec, context=STORED)
    assert JobSpec.model_validate_json(json.dumps(spec), context=STORED) == made
    dumped = made.model_dump(mode="json")
    assert dumped == spec
    parameters = parse_parameters(made.workflow_id, made.parameters, stored=True)
    renamed = {parameters.OLD_NAMES.get(name, name): value for name, value in spec["parameters"].items()}
    if "gamma" in renamed:
        renamed["gamma"] = {GammaCriteria.OLD_NAMES.get(k, k): v for k, v in renamed["gamma"].items()}
    dumped = parameters.model_dump(mode="json")
    assert {name: dumped[name] for name in renamed} == renamed
    if "\0" in json.dumps(spec["parameters"]):
        with pytest.raises(InvalidRequestError):
            parse_parameters(made.workflow_id, made.parameters)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("030", 30.0),  # octal in YAML 1.1: 24 fractions; a float here, which no count takes
        ("1:30", "1:30"),  # base 60: 90
        ("1_0", "1_0"),
        ("0x10", "0x10"),
        ("no", "no"),
        ("on", "on"),
        ("2026-01-02", "2026-01-02"),
        ("1e2", 100.0),
        ("60", 60),
        ("-3", -3),
        ("60.", 60.0),
        (".5", 0.5),
        ("true", True),
        ("~", None),
        ("", None),
        ("'60'", "60"),
    ],
)
def test_yaml_is_what_it_looks_like(text: str, value: object) -> None:
    read = plain_yaml.load(f"a: {text}")["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("fractions: true", "prescription.fractions"),
        ("fractions: yes", "prescription.fractions"),
        ("fractions: 030", "prescription.fractions"),
        ("fractions: 1:30", "prescription.fractions"),
        ("fractions: 30.0", "prescription.fractions"),
        ("fractions: '30'", "prescription.fractions"),
        ("fractions: 30, dose_gy: '60'", "prescription.dose_gy"),
        ("fractions: 30, dose_gy: .inf", "prescription.dose_gy"),
        ("fractions: 30, dose_gy: 6_0", "prescription.dose_gy"),
        ('fractions: 30, target: "PTV\\0"', "prescription.target"),
        ("fractions: 30, target: no", None),
        ("fractions: 30, target: 60", "prescription.target"),
    ],
)
def test_a_protocols_file_is_read_by_the_same_rules(tmp_path: Path, written: str, field: str | None) -> None:
    given = {"target: PTV": "target", "dose_gy: 60": "dose_gy"}
    fields = [text for text, name in given.items() if name not in written] + [written]
    path = tmp_path / "p.yaml"
    path.write_text(f"id: p\ntitle: P\nworkflow: proton-impt-basic\nprescription: {{{', '.join(fields)}}}\n")
    if field is None:
        assert read_protocol(path).protocol.prescribed.target == "no"
        return
    with pytest.raises(InvalidProtocolsError) as caught:
        read_protocol(path)
    assert [(p.line, p.field) for p in caught.value.problems] == [(4, field)]

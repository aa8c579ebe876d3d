"""What travels between the processes survives JSON, and nonsense is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from radiarch_contract import errors, uids
from radiarch_contract.errors import ErrorCode, InvalidRequestError, RadiarchError
from radiarch_contract.job import JobResult, JobSpec
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.protocol import Protocol
from radiarch_contract.states import OutputKind, PlanState
from radiarch_contract.workflows import (
    WORKFLOWS,
    ImptOptimizedParameters,
    Prescription,
    ProtonParameters,
    get_workflow,
    parse_parameters,
)

OBJECTIVE: dict[str, Any] = {"structure": "PTV", "metric": "DUniform", "dose_gy": 60.0, "weight": 10.0}


def tree(cls: type[RadiarchError]) -> list[type[RadiarchError]]:
    # others may derive classes with arguments of their own; which are imported depends on the tests collected
    return [cls, *(s for c in cls.__subclasses__() if c.__module__ == errors.__name__ for s in tree(c))]


@pytest.mark.parametrize("cls", tree(RadiarchError))
def test_every_error_survives_json(cls: type[RadiarchError]) -> None:
    error = cls("found A, expected B", remedy="do C", uid="1.2.3")
    assert errors.ErrorInfo.model_validate_json(error.info.model_dump_json()) == error.info
    assert error.info.details == {"uid": "1.2.3"}


def test_job_spec_survives_json() -> None:
    spec = JobSpec(
        plan_id="0" * 32,
        attempt=1,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        rtstruct_sop_instance_uid="1.2",
        rtstruct_sha256="ab",
        patient_id="P",
        study_instance_uid="1.3",
        workflow_id="proton-impt-basic",
        prescription=Prescription(target="PTV", dose_gy=60, fractions=30),
        parameters={},
    )
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    result = JobResult(plan_id=spec.plan_id, attempt=1)
    assert JobResult.model_validate_json(result.model_dump_json()) == result


def test_uids_are_valid_stable_and_distinct() -> None:
    made = {uids.sop_instance_uid(p, k) for p in ("a" * 32, "b" * 32) for k in OutputKind}
    made |= {uids.series_instance_uid(p, k) for p in ("a" * 32, "b" * 32) for k in OutputKind}
    assert len(made) == 4 * len(OutputKind)
    assert all(len(u) <= 64 and u.replace(".", "").isdigit() for u in made)
    assert uids.sop_instance_uid("a" * 32, OutputKind.RTDOSE) == uids.sop_instance_uid("a" * 32, "rtdose")


def test_defaults_are_filled_in_and_errors_name_the_field() -> None:
    parameters = parse_parameters("proton-impt-optimized", {"objectives": [OBJECTIVE]})
    assert isinstance(parameters, ProtonParameters)
    assert parameters.uncertainty_percent == 2.0
    with pytest.raises(InvalidRequestError) as caught:
        parse_parameters("proton-impt-optimized", {"objectives": [{**OBJECTIVE, "weight": -1}]})
    assert caught.value.info.details["errors"][0]["field"] == "objectives.0.weight"


def test_unknown_workflow_is_named() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_parameters("nope", {})
    assert caught.value.code is ErrorCode.UNKNOWN_WORKFLOW


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=lambda w: w.id)
def test_schema_has_a_default_or_requires_every_parameter(workflow: Any) -> None:
    schema = workflow.schema()
    for name, field in schema["properties"].items():
        assert "default" in field or name in schema.get("required", ())


def test_beams_are_given_or_spaced_evenly() -> None:
    spaced = parse_parameters("proton-impt-basic", {"beam_count": 3})
    assert isinstance(spaced, ProtonParameters)
    assert [b.gantry_deg for b in spaced.planned_beams] == [0.0, 120.0, 240.0]
    with pytest.raises(InvalidRequestError):
        parse_parameters("proton-impt-basic", {"beam_count": 3, "beams": [{"gantry_deg": 0}]})


def test_a_volume_goes_with_dvh_metrics_only() -> None:
    with pytest.raises(ValidationError):
        Objective(structure="A", metric=ObjectiveMetric.DVH_MAX, dose_gy=1)
    with pytest.raises(ValidationError):
        Objective(structure="A", metric=ObjectiveMetric.DMAX, dose_gy=1, volume_percent=5)


def test_a_protocol_is_checked_down_to_its_workflow_and_goals() -> None:
    good: dict[str, Any] = {
        "id": "p",
        "title": "P",
        "prescription": {"target": "PTV", "dose_gy": 60, "fractions": 30},
        "workflow": "proton-impt-optimized",
        "beams": [{"gantry_deg": 90}],
        "objectives": [OBJECTIVE],
        "goals": ["Rectum: Dmean ≤ 20 Gy"],
        "calculation": {"seed": 3},
    }
    protocol = Protocol.model_validate(good)
    assert protocol.structure_names() == ["PTV", "Rectum"]
    parameters = parse_parameters(protocol.workflow, protocol.parameters())
    assert isinstance(parameters, ProtonParameters)
    assert parameters.seed == 3
    mistakes: list[dict[str, Any]] = [
        {"goals": ["Rectum: Dmean"]},
        {"workflow": "x"},
        {"objectives": []},
        {"calculation": {"sede": 3}},
        {"id": "../x"},
    ]
    for bad in mistakes:
        with pytest.raises(ValidationError):
            Protocol.model_validate({**good, **bad})


def test_a_protocol_that_checks_needs_a_prescription_for_what_is_relative_to_it() -> None:
    check = {"id": "c", "title": "C", "workflow": "recalculation", "match": {"plan_label": "^FINAL"}}
    assert not Protocol.model_validate({**check, "goals": ["PTV: Dmean ≥ 50 Gy"]}).plans
    with pytest.raises(ValidationError, match="relative to a prescription"):
        Protocol.model_validate({**check, "goals": ["PTV: D95% ≥ 95%"]})
    prescription = {"target": "PTV", "dose_gy": 60, "fractions": 30}
    protocol = Protocol.model_validate({**check, "prescription": prescription, "goals": ["PTV: D95% ≥ 95%"]})
    assert (protocol.structure_names(), protocol.prescribed.dose_gy) == (["PTV"], 60)
    plans = {**check, "match": {}, "workflow": "proton-impt-basic"}
    assert Protocol.model_validate({**plans, "prescription": prescription}).plans
    for wrong, message in (
        (plans, "needs a prescription"),
        ({**check, "prescription": prescription, "workflow": "proton-impt-basic"}, "plan_label"),
    ):
        with pytest.raises(ValidationError, match=message):
            Protocol.model_validate(wrong)


def test_only_three_states_are_final() -> None:
    assert {s for s in PlanState if s.ended} == {PlanState.SUCCEEDED, PlanState.FAILED, PlanState.CANCELLED}


def test_the_contract_imports_pydantic_only() -> None:
    code = (
        "import sys, radiarch_contract.job, radiarch_contract.protocol, radiarch_contract.transport\n"
        "bad = {'numpy', 'pydicom', 'redis', 'rq', 'fastapi', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "contract"})


def test_a_protocol_names_every_structure_that_has_to_be_found() -> None:
    protocol = Protocol.model_validate(
        {
            "id": "boost",
            "title": "Boost",
            "prescription": {
                "target": "PTV_low",
                "dose_gy": 54,
                "fractions": 30,
                "more": [{"target": "Boost", "dose_gy": 60}],
            },
            "workflow": "proton-impt-optimized",
            "objectives": [OBJECTIVE | {"structure": "Ring"}],
            "derived": {"Boost": "GTV grown 5 mm", "Ring": "(Boost grown 20 mm) minus Boost"},
            "calculation": {"overrides": [{"structure": "Metal", "hu": 3000}], "tune_to_goals": True},
            "goals": ["Boost: D95% ≥ 95%", {"goal": "Rectum: Dmean ≤ 20 Gy", "priority": 2, "tolerance": 1}],
        }
    )
    assert protocol.structure_names() == ["PTV_low", "GTV", "Rectum", "Metal"]
    assert protocol.target_names() == ["PTV_low", "GTV"]
    assert protocol.goals[1] == "Rectum: Dmean ≤ 20 Gy, priority 2, tolerance 1 Gy"
    assert protocol.prescribed.dose_of_gy("Boost") == 60
    assert protocol.prescribed.dose_of_gy("Rectum") == 54
    assert protocol.parameters()["derived"]["Boost"] == "GTV grown 5 mm"
    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": [{"target": "PTV", "dose_gy": 50}]}, "has two doses"),
        ({"more": [{"target": "A", "dose_gy": -1}]}, "greater than 0"),
    ],
)
def test_prescriptions_that_contradict_themselves(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Prescription.model_validate({"target": "PTV", "dose_gy": 60, "fractions": 30} | change)


def test_a_prescription_of_one_target_is_written_as_ever() -> None:
    plain = {"target": "PTV", "dose_gy": 60.0, "fractions": 30}
    assert Prescription.model_validate(plain).model_dump(mode="json") == plain


def test_a_parameter_is_accepted_under_its_old_name_for_one_version_and_a_note_says_so() -> None:
    def parsed(**given: Any) -> ImptOptimizedParameters:
        found = parse_parameters("proton-impt-optimized", {"objectives": [OBJECTIVE]} | given)
        assert isinstance(found, ImptOptimizedParameters)
        return found

    new, old = parsed(tune_to_goals={"max_rounds": 3}), parsed(adapt={"max_rounds": 3})
    assert old.tuning == new.tuning is not None
    assert new.notes == ()
    assert ["adapt" in n and "tune_to_goals" in n for n in old.notes] == [True]
    stored = old.model_dump(mode="json")
    assert "adapt" not in stored
    assert parsed(**stored) == old
    # A re-optimisation joins a stored record with what is asked for now, which wins.
    joined = parsed(adapt=False, tune_to_goals=True)
    assert joined.tuning is not None
    assert joined.notes == ()
    for wrong in ({"adapt": 3}, {"old_names": ["seed"]}, {"old_names": 3}):
        with pytest.raises(InvalidRequestError):
            parsed(**wrong)
    workflow = get_workflow("proton-impt-optimized")
    assert {"adapt", "old_names"}.isdisjoint(workflow.schema()["properties"].keys() | workflow.defaults.keys())


@pytest.mark.parametrize(
    "wrong",
    [
        {"overrides": [{"structure": "Metal"}]},
        {"overrides": [{"structure": "Metal", "hu": 1, "density_g_cm3": 1}]},
        {"tune_to_goals": {"weight_limits": [2, 3]}},
        {"beams": [{"gantry_deg": 0, "range_shifter": "../x"}]},
    ],
)
def test_nonsense_in_steering_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        parse_parameters("proton-impt-optimized", {"objectives": [OBJECTIVE]} | wrong)

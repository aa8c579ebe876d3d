"""The SDK's models have every field that the service answers, and no other; values stay open for other versions."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from radiarch_client import models
from radiarch_contract.job import RunResult
from radiarch_contract.run import RunRequest, RunState, RunSubject
from radiarch_plugin.web import answers, record_answers


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (models.PlanSummary, answers.PlanSummary),
        (models.Plan, answers.PlanAnswer),
        (models.Job, answers.JobAnswer),
        (models.Arrival, answers.ArrivalAnswer),
        (models.StudyDetail, record_answers.StudyDetail),
        (models.PatientDetail, record_answers.PatientDetail),
        (models.SeriesDetail, record_answers.SeriesDetail),
        (models.StoredObject, record_answers.ObjectAnswer),
        (models.TimelineItem, record_answers.TimelineItem),
    ],
)
def test_the_sdk_drops_and_invents_no_field(model: type[BaseModel], answer: type[BaseModel]) -> None:
    assert set(model.model_fields) == set(answer.model_fields)


def test_a_plan_has_the_whole_record() -> None:
    parts = (RunSubject, RunRequest, RunState, RunResult)
    assert {name for part in parts for name in part.model_fields} <= set(models.Plan.model_fields)

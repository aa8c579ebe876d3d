from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phantoms import PhantomStudy, box

from .service import Service

COMPUTING = ("computing_beamlets", "optimizing", "final_dose")
"""Stages in which engines run."""

Begin = Callable[[], tuple[PhantomStudy, str]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with one worker; a test that kills something starts it again."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        running.start()
        yield running


@pytest.fixture
def new_study() -> Callable[[], PhantomStudy]:
    """Small studies that the test protocol fits, each of its own patient."""

    def make() -> PhantomStudy:
        made = box(shape=(16, 56, 56), target_mm=24)
        patient_id = "BOX-" + str(made.rtstruct.StudyInstanceUID).rpartition(".")[2][-12:]
        for dataset in made.datasets:
            dataset.PatientID = patient_id
        return made

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[[PhantomStudy], list[Path]]:
    """Write a study; its files, the RTSTRUCT last."""
    return lambda study: study.save(tmp_path / str(study.rtstruct.SOPInstanceUID)[-12:])


@pytest.fixture
def begin(service: Service, new_study: Callable[[], PhantomStudy], save: Callable[[PhantomStudy], list[Path]]) -> Begin:
    """Send a study and wait until engines compute for it; the study and the plan's id."""

    def send() -> tuple[PhantomStudy, str]:
        study = new_study()
        service.send(save(study))
        plan = service.wait_for_plan(str(study.rtstruct.SOPInstanceUID))
        service.wait_for_stage(plan["id"], *COMPUTING)
        service.wait(lambda: service.engine_processes(service.workers[0]), "an engine runs")
        return study, plan["id"]

    return send

"""A plan of ours and its dose, on which errors are tried: through the job as a worker runs it, but for Orthanc.

The engine runs once for each plan that it has not seen: what differs in the beams' meterset alone is the sum of the
same beams with other factors, exactly.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.job import KnownScale, MachineScale
from radiarch_contract.structures import Roi, StructureRef, resolve
from radiarch_contract.workflows import Beam, ImptBasicParameters, Prescription, parse_parameters
from radiarch_worker import report
from radiarch_worker.dicom import encode, write_rtdose, write_rtplan
from radiarch_worker.engines import mcsquare
from radiarch_worker.evaluation import evaluate
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import plan as plan_it

from phantoms import PhantomStudy
from phantoms.shapes import Box
from phantoms.study import PhantomRoi, make_study
from tests.worker.engines.water import Recorder
from tests.worker.recalculation.checks import Ran, run_check
from tests.worker.recalculation.errors import Arriving, Error, Known, rename
from tests.worker.runtime.conftest import make_spec

PRESCRIPTION = Prescription(target="PTV", dose_gy=40.0, fractions=10)
SPACING_MM = 4.0
BODY = Box((0.0, 0.0, 0.0), (184.0, 152.0, 96.0))
BONE = Box((56.0, 0.0, 0.0), (12.0, 152.0, 96.0))
SHAPES = (
    PhantomRoi("BODY", BODY, "EXTERNAL", (0, 255, 0)),
    PhantomRoi("PTV", Box((0.0, 0.0, 0.0), (28.0, 28.0, 28.0)), "PTV", (255, 0, 0)),
    PhantomRoi("Cord", Box((0.0, 26.0, 0.0), (24.0, 24.0, 48.0)), "ORGAN", (0, 0, 255)),
    PhantomRoi("Lung", Box((-36.0, 0.0, 0.0), (40.0, 40.0, 48.0)), "ORGAN", (0, 120, 255)),
)
BEAMS = (Beam(gantry_deg=90, couch_deg=15), Beam(gantry_deg=0))
CHECKED = {"scoring_spacing_mm": 4, "seed": 77}


def body_with_bone() -> PhantomStudy:
    """Water with a slab of bone between the first beam and the target, in air."""
    count = np.array([54, 46, 24])
    origin = -(count - 1) / 2 * SPACING_MM
    z, y, x = np.meshgrid(*(origin[a] + SPACING_MM * np.arange(count[a]) for a in (2, 1, 0)), indexing="ij")
    hu = np.where(BODY.contains(x, y, z), 0.0, -1000.0)
    hu[BONE.contains(x, y, z)] = 700.0
    return make_study(
        hu.astype(np.float32),
        SHAPES,
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        spacing_mm=(SPACING_MM,) * 3,
        patient_id="RADIARCH-BONE",
        patient_name="Phantom^Bone",
        study_description="Water with a slab of bone",
        series_description="CT",
        seed="sensitivity",
    )


Compute = Callable[..., mcsquare.DoseResult]


@dataclass
class SeenDoses:
    """The engine, which computes each beam once for a way in which its meterset is spread over its spots."""

    compute: Compute
    seen: dict[str, mcsquare.DoseResult] = field(default_factory=dict)
    runs: int = 0

    def __call__(
        self, ct: Any, plan: mcsquare.SpotPlan, weights: npt.NDArray[np.float64], *rest: Any, **options: Any
    ) -> mcsquare.DoseResult:
        counts = [sum(len(layer) for layer in beam.layers) for beam in plan.beams]
        parts = np.split(weights, np.cumsum(counts)[:-1])
        alike = np.concatenate([100 * part / part.sum() for part in parts])
        settings = rest[2]
        key = hashlib.sha256()
        for told in (
            ct.hu.tobytes(),
            repr(ct.grid),
            repr(plan),
            np.round(alike, 4).tobytes(),
            settings.machine.bdl_text,
        ):
            key.update(told if isinstance(told, bytes) else told.encode())
        found = self.seen.get(key.hexdigest())
        if found is None:
            with np.printoptions(threshold=10**9):
                found = self.seen[key.hexdigest()] = self.compute(ct, plan, alike, *rest, **options)
            self.runs += 1
        beams = tuple(
            (gy * np.float32(part.sum() / 100)).astype(np.float32)
            for gy, part in zip(found.beams_gy, parts, strict=True)
        )
        return replace(found, dose_gy=np.sum(beams, axis=0, dtype=np.float32), beams_gy=beams)


@dataclass
class Bench:
    """What arrives at the second check where nothing is wrong, and the check itself."""

    plan: Dataset
    dose: Dataset
    study: PhantomStudy
    structures: tuple[StructureRef, ...]
    engine: SeenDoses
    uncertainty_percent: float
    reports: bool = True
    machine_scale: MachineScale | None = None

    def check(self, error: Error, machine: Known, folder: Path) -> Ran:
        """The job that checks what arrives with the error in it."""
        arriving = Arriving(
            plan=self.plan if machine == "known" else rename(self.plan),
            dose=copy.deepcopy(self.dose),
            study=self.study.copy(),
            changes={"prescription": PRESCRIPTION},
        )
        arriving.plan = copy.deepcopy(arriving.plan)
        error.spoil(arriving)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mcsquare, "compute_dose", self.engine)
            if not self.reports:
                patch.setattr(report, "draw", _undrawn)
            return run_check(
                *(patch, folder, arriving.study, "recalculation"),
                {"rtplan": reread(arriving.plan), "reference_rtdose": reread(arriving.dose)},
                parameters={**CHECKED, "uncertainty_percent": self.uncertainty_percent},
                structures=self.structures,
                scales=self._known(folder) if machine == "remembered" else (),
                **arriving.changes,
            )

    def _known(self, folder: Path) -> tuple[KnownScale, ...]:
        """What another plan of the unknown machine has told."""
        if self.machine_scale is None:
            ran = self.check(Error("none", lambda _: None, {}), "unknown", folder)
            assert ran.result.machine_scale is not None, ran.result.error
            self.machine_scale = ran.result.machine_scale
        told = self.machine_scale.model_dump(exclude={"counts"})
        return (KnownScale(**told, plans=3, confirmed=False),)


def make_bench(folder: Path, *, reference_percent: float, uncertainty_percent: float) -> Bench:
    """Plan the phantom, and compute its dose.

    Parameters
    ----------
    reference_percent, uncertainty_percent : statistical uncertainty of the plan's dose, and of the check
    """
    study = body_with_bone()
    patient = load_patient(study.rtstruct, study.images)
    refs, _ = resolve(["PTV"], {}, [Roi(number=n, name=s.name) for n, s in patient.structures.items()])
    parameters = parse_parameters(
        "proton-impt-basic",
        {
            "beams": [b.model_dump() for b in BEAMS],
            "spot_spacing_mm": 6,
            "layer_spacing_mm": 6,
            "scoring_spacing_mm": 4,
            "beamlet_primaries": 400,
            "uncertainty_percent": reference_percent,
            "max_iterations": 80,
        },
    )
    assert isinstance(parameters, ImptBasicParameters)
    cores = len(os.sched_getaffinity(0))
    made = plan_it("proton-impt-basic", patient, PRESCRIPTION, parameters, refs, Recorder(), folder / "plan", cores)
    spec = make_spec(
        plan_id="5" * 32,
        rtstruct_sop_instance_uid=str(study.rtstruct.SOPInstanceUID),
        patient_id=str(study.rtstruct.PatientID),
        study_instance_uid=str(study.rtstruct.StudyInstanceUID),
        prescription=PRESCRIPTION,
        structures=tuple(refs.values()),
        parameters=parameters.model_dump(mode="json"),
    )
    judged = evaluate(patient, made.dose, PRESCRIPTION, [], refs)
    return Bench(
        plan=reread(write_rtplan(spec, patient, made)),
        dose=reread(write_rtdose(spec, patient, made, judged)),
        study=study,
        structures=tuple(refs.values()),
        engine=SeenDoses(mcsquare.compute_dose),
        uncertainty_percent=uncertainty_percent,
    )


def reread(dataset: Dataset) -> Dataset:
    """Through its bytes, as it would arrive."""
    return pydicom.dcmread(BytesIO(encode(dataset)))


def said(ran: Ran) -> str:
    """pass, look, fail, or refused."""
    if ran.result.error is not None:
        return "refused"
    assert ran.result.verdict is not None
    return ran.result.verdict.result.value


def _undrawn(*_: object) -> report.Report:
    return report.Report(b"%PDF-1.4", {}, ())

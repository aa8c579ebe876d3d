"""Records the bar and the estimate of a plan as a worker makes them, in a process of its own; prints a table.

``python -m benchmarks.progress`` plans case ``prostate`` and says how long the bar stood still and how far the estimate
was off, from the tenth second on. With ``--memory FOLDER`` the durations of earlier runs there are used and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import yaml
from radiarch_contract.protocol import Protocol
from radiarch_contract.states import Stage
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import ProtonParameters
from radiarch_worker.engines.mcsquare import load_calibration, load_machine
from radiarch_worker.evaluation import evaluate
from radiarch_worker.machines.calibration import GENERIC
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import plan
from radiarch_worker.runtime.durations import Expected, expected, remember
from radiarch_worker.runtime.progress import Progress

from .ours import Silent
from .quality import parameters_of

CHECKOUT = Path(__file__).parents[1]
PROTOCOL = CHECKOUT / "orthanc-config" / "protocols" / "prostate-two-lateral.yaml"
_SAMPLE_S = 0.5
_FROM_S = 10.0
"""From when on the estimate counts."""
_ESTIMATE_PERCENT, _STILL_S = 30.0, 10.0
_LEFT_S = 5.0
"""The estimate is not judged by what is left when that is less than this."""


@dataclass(frozen=True)
class Sample:
    """What a user sees at a moment."""

    at_s: float
    stage: Stage
    fraction: float
    eta_s: float | None


class Recorded(Silent):
    """A reporter that feeds `Progress`, as the worker does with the messages of a job."""

    def __init__(self, usual: Expected) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.progress_of = Progress(usual.stages_s, now=self._began, s_per_unit=usual.s_per_unit)
        self.samples: list[Sample] = []

    def stage(self, stage: object, message: str = "") -> None:
        with self._lock:
            self.progress_of.enter(Stage(str(stage)), time.monotonic())

    def expect(self, work: object) -> None:
        assert isinstance(work, Mapping)
        with self._lock:
            self.progress_of.expect(work, time.monotonic())

    def progress(self, fraction: float, message: str = "") -> None:
        with self._lock:
            self.progress_of.report(fraction, time.monotonic())

    def sample(self) -> None:
        with self._lock:
            now = time.monotonic()
            bar = self.progress_of
            self.samples.append(Sample(now - self._began, bar.stage, round(bar.fraction(now), 4), bar.eta_s(now)))


@dataclass
class Sampler:
    """Samples a reporter until it is stopped."""

    reporter: Recorded
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Sampler:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self.reporter.sample()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    cases = Path(os.environ.get("RADIARCH_CASES", CHECKOUT.parent / "shared/cases"))
    arguments.add_argument("--case", type=Path, default=cases / "prostate")
    arguments.add_argument("--protocol", type=Path, default=PROTOCOL)
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the plan")
    arguments.add_argument("--memory", type=Path, help="folder of durations of earlier runs")
    arguments.add_argument("--samples", type=Path, help="all samples are written to this file")
    options = arguments.parse_args()
    protocol = Protocol.model_validate(yaml.safe_load(options.protocol.read_text()))
    usual = Expected() if options.memory is None else expected(options.memory, protocol.workflow)
    reporter = run(options.case, protocol, options.set, options.threads, usual)
    if options.memory is not None:
        durations_s, work = reporter.progress_of.durations_s, reporter.progress_of.work
        remember(options.memory, protocol.workflow, durations_s, work)
    if options.samples is not None:
        rows = [[s.at_s, s.stage.value, s.fraction, s.eta_s] for s in reporter.samples]
        options.samples.write_text(json.dumps(rows))
    print(table(reporter.samples, reporter.progress_of.durations_s))


def run(case: Path, protocol: Protocol, changes: Sequence[str], threads: int, usual: Expected) -> Recorded:
    """Load, plan and evaluate a case."""
    parameters = parameters_of(protocol, changes)
    assert isinstance(parameters, ProtonParameters)
    load_machine(parameters.machine)  # a worker has them loaded before a job comes
    load_calibration(GENERIC)
    reporter = Recorded(usual)
    with Sampler(reporter), tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as folder:
        images = [pydicom.dcmread(path) for path in sorted((case / "CT").iterdir())]
        patient = load_patient(pydicom.dcmread(case / "RTSTRUCT.dcm"), images)
        rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
        structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
        given = (protocol.workflow, patient, protocol.prescribed, parameters, structures, reporter)
        result = plan(*given, Path(folder), threads, None, protocol.goals)
        reporter.stage(Stage.EXPORTING)
        evaluate(patient, result.dose, protocol.prescribed, protocol.goals, structures)
    reporter.progress_of.finish(time.monotonic())
    reporter.sample()
    return reporter


def table(samples: Sequence[Sample], durations_s: Mapping[Stage, float]) -> str:
    """What was seen, beside what is demanded."""
    end_s = samples[-1].at_s
    judged = [s for s in samples if s.at_s >= _FROM_S and s.eta_s is not None]
    of_total = max((abs(s.at_s + (s.eta_s or 0.0) - end_s) / end_s for s in judged), default=0.0)
    left = [s for s in judged if end_s - s.at_s >= _LEFT_S]
    of_left = max((abs((s.eta_s or 0.0) / (end_s - s.at_s) - 1) for s in left), default=0.0)
    within = sum(abs((s.eta_s or 0.0) / (end_s - s.at_s) - 1) <= _ESTIMATE_PERCENT / 100 for s in left)
    still_s, where = _longest_still(samples)
    lines = [
        "| | found | demanded |",
        "| --- | --- | --- |",
        f"| duration | {end_s:.0f} s | |",
        f"| longest time that the bar stood still | {still_s:.1f} s ({where}) | at most {_STILL_S:g} s |",
        f"| end as estimated, error of the total time | {100 * of_total:.0f} % | at most {_ESTIMATE_PERCENT:g} % |",
        f"| estimated time left, largest error of what is left | {100 * of_left:.0f} % | |",
        f"| estimates within {_ESTIMATE_PERCENT:g} % of what is left | {100 * within / max(len(left), 1):.0f} % | |",
        "",
        "; ".join(f"{stage.value} {seconds:.1f} s" for stage, seconds in durations_s.items()),
    ]
    return "\n".join(lines)


def _longest_still(samples: Sequence[Sample]) -> tuple[float, str]:
    longest, where = 0.0, ""
    since = samples[0]
    for sample in samples:
        if sample.fraction > since.fraction:
            since = sample
        elif sample.at_s - since.at_s > longest:
            longest, where = sample.at_s - since.at_s, f"{sample.stage.value}, at {100 * sample.fraction:.0f} %"
    return longest, where


if __name__ == "__main__":
    main()

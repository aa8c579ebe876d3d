"""AAPM TG-119's C-shape, planned with the protocol that ships, beside the goals that were published for it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import yaml
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import parse_parameters
from radiarch_worker.evaluation import evaluate
from radiarch_worker.planning import plan

from tests.worker.engines.water import Recorder

from .clinical import read_case
from .section import Section

_PUBLISHED = (
    # structure, share of the volume, whether at least, goal in Gy, whether the harder version asks for it
    ("OuterTarget", 0.95, True, 50.0, False),
    ("OuterTarget", 0.10, False, 55.0, False),
    ("Core", 0.10, False, 25.0, False),
    ("Core", 0.10, False, 10.0, True),
)
"""Ezzell et al. 2009, doi:10.1118/1.3238104, table I: C-shape, 50 Gy, easier and harder version."""
COVERAGE_GY = 47.5
"""95 % of the prescription: what the protocol that ships asks of the target's D95%."""


def beside_goals(case: Path, protocol_file: Path) -> Section:
    """One plan, judged by its final dose."""
    protocol = Protocol.model_validate(yaml.safe_load(protocol_file.read_text()))
    patient = read_case(case)
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
    parameters = parse_parameters(protocol.workflow, protocol.parameters())
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as folder:
        made = plan(
            *(protocol.workflow, patient, protocol.prescribed, parameters, structures, Recorder(), Path(folder), cores),
            goals=protocol.goals,
        )
    judged = evaluate(patient, made.dose, protocol.prescribed, protocol.goals, structures)
    rows, found = [], {}
    for structure, share, least, goal_gy, harder in _PUBLISHED:
        name = patient.structures[structures[structure].roi_number].name
        curve = next(c for c in judged.dvh if c.structure == name)
        # volume falls with dose: turned round, so that dose is looked up by volume
        dose_gy = float(np.interp(-100 * share, -np.array(curve.volume_percent), curve.dose_gy))
        met = dose_gy >= goal_gy if least else dose_gy <= goal_gy
        found[structure, share] = dose_gy
        words = "at least" if least else "at most"
        rows.append(
            [
                "harder" if harder else "easier",
                f"{structure} D{100 * share:g}%",
                f"{words} {goal_gy:g}",
                f"{dose_gy:.1f}",
                "met" if met else "not met",
            ]
        )
    coverage, hot, core = found["OuterTarget", 0.95], found["OuterTarget", 0.10], found["Core", 0.10]
    return Section(
        title="TG-119 beside its published goals",
        how=f"Case `tg119` (C-shape), planned with `{protocol_file.name}` ({len(made.beams)} proton beams; final dose "
        f"{made.uncertainty_percent:.2f} % uncertain), beside the goals of AAPM TG-119 (doi:10.1118/1.3238104). They "
        "were written for photon IMRT, at 50 Gy to 95 % of the target.",
        header=("version", "metric", "published goal, Gy", "ours, Gy", ""),
        rows=rows,
        demands=[
            ("target's D95% at least 95 % of the prescription", f"{coverage:.1f} Gy", coverage >= COVERAGE_GY),
            ("target's D10% within the published goal", f"{hot:.1f} Gy", hot <= 55),
            ("core's D10% within the easier goal", f"{core:.1f} Gy", core <= 25),
        ],
        workflows=("proton-impt-optimized",),
    )

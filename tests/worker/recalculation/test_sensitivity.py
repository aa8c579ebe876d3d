"""What gamma alone passes is not passed: errors tried through the job, with the real engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.recalculation.errors import FACTS, MORE, Error, Known
from tests.worker.recalculation.sensitivity import Bench, make_bench, said

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ERRORS = {e.name: e for e in (*FACTS, *MORE)}
TRIED: tuple[tuple[str, Known], ...] = (
    *(
        (name, machine)
        for name in (
            "none",
            "all MU × 1.03",
            "all MU × 1.1",
            "beam 1 MU × 1.1",
            "20 fractions for 10",
            "RTDOSE of one fraction called PLAN",
            "physical dose called EFFECTIVE",
            "RBE-weighted RTDOSE called PHYSICAL",
            "physical RTDOSE that says so",
            "RTDOSE × 0.97",
        )
        for machine in ("known", "remembered", "unknown")
        if machine in ERRORS[name].machines
    ),
    *(
        (name, "known")
        for name in (
            "all energies + 2 MeV",
            "CT + 50 HU",
            "isocenter y + 2 mm",
            "one beam dropped",
            "one beam named and absent",
            "protocol: 20 Gy less",
            "protocol: 9 fractions",
            "RTDOSE shifted by a voxel",
            "RTDOSE of another plan, called this one's",
            "RTDOSE that names another plan",
            "RTDOSE of a fraction",
            "RTDOSE of a beam",
        )
    ),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = make_bench(tmp_path_factory.mktemp("bench"), reference_percent=1.3, uncertainty_percent=1.9)
    made.reports = False
    return made


@pytest.mark.parametrize(("name", "machine"), TRIED, ids=str)
def test_an_error_is_not_passed_and_what_is_right_is(bench: Bench, tmp_path: Path, name: str, machine: Known) -> None:
    error: Error = ERRORS[name]
    ran = bench.check(error, machine, tmp_path)
    assert said(ran) in error.machines[machine], ran.result.verdict or ran.result.error
    verdict, comparison = ran.result.verdict, ran.result.comparison
    if verdict is None or comparison is None:
        return
    assert bool(verdict.reasons) == (verdict.result != "pass")
    fitted = machine != "known"
    assert (comparison.mean_difference_gy is None) == fitted
    assert fitted == any(c.id.startswith("scale") for c in verdict.criteria)
    assert not any(c.id in ("mean.target", "mean.high_dose") for c in verdict.criteria if fitted)
    scale = ran.result.machine_scale
    assert (scale is not None) == fitted
    if scale is not None and machine == "remembered":
        assert scale.counts == (said(ran) == "pass"), "what has changed is not what other plans are judged by"


def test_each_beam_tells_what_is_wrong_with_it(bench: Bench, tmp_path: Path) -> None:
    """The fit finds the size of an error, not only that there is one."""
    for name, number, attribute, expected, tolerance in (
        ("none", 1, "range_mm", 0.0, 0.3),
        ("none", 2, "meterset_percent", 0.0, 0.6),
        ("beam 1 MU × 1.1", 1, "meterset_percent", 100 * (1 / 1.1 - 1), 0.6),
        ("beam 1 MU × 1.1", 2, "meterset_percent", 0.0, 0.6),
        ("isocenter y + 2 mm", 1, "shift_x_mm", 2.0, 0.3),
        # along the second beam: how deep it reaches goes by the patient's surface
        ("isocenter y + 2 mm", 2, "range_mm", 0.0, 0.4),
    ):
        folder = tmp_path / f"{name}-{number}-{attribute}".replace(" ", "-")
        folder.mkdir()
        found = bench.check(ERRORS[name], "known", folder).result.comparison
        assert found is not None
        beam = next(b for b in found.beams if b.number == number)
        assert abs(getattr(beam, attribute)) == pytest.approx(abs(expected), abs=tolerance), (name, beam)

"""A site's calibration through the product's own path: spots, density overrides, range scenarios, old requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_contract.workflows import ImptBasicParameters, RecalculationParameters, parse_parameters
from radiarch_worker.engines.mcsquare import load_calibration
from radiarch_worker.model import Grid, Patient
from radiarch_worker.planning import prepare
from radiarch_worker.planning.proton.robust import _groups
from radiarch_worker.planning.proton.scenarios import Scenario
from radiarch_worker.planning.proton.steps import ProtonJob, set_up
from radiarch_worker.site_folders import Folders, site_folders, use_folders

from tests.worker.engines.water import Recorder, patient, refs
from tests.worker.machines.test_calibrations import CT1, table
from tests.worker.planning.test_plans import PRESCRIPTION

GRID = Grid((-48.0, -112.5, 700.0), (3.0, 3.0, 4.0), (25, 55, 33))


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A site whose scanner makes water 4 % denser than it is, so that it shows."""
    before = site_folders()
    (tmp_path / "site").mkdir()
    text = table("mine", "scanners: [{station: CT1}]").replace("[0, 1.0]", "[0, 1.04]")
    (tmp_path / "site" / "mine.yaml").write_text(text)
    use_folders(Folders(calibrations=tmp_path / "site"))
    yield tmp_path / "site" / "mine.yaml"
    use_folders(before)


def of_ct1() -> Patient:
    target = ((-15.0, 15.0), (-18.0, 9.0), (735.0, 765.0))
    p = patient(GRID, ((-45.0, 45.0), (-108.0, 45.0), (708.0, 790.0)), {"PTV": target})
    return replace(p, ct=replace(p.ct, scanners=(CT1,)))


def job(p: Patient, folder: Path, **given: object) -> ProtonJob:
    parameters = ImptBasicParameters.model_validate(given)
    return ProtonJob(p, PRESCRIPTION, parameters, refs(p), Recorder(), folder, 1)


def test_the_scanners_calibration_is_used_in_every_step(mine: Path, tmp_path: Path) -> None:
    ours, generic = (set_up(job(of_ct1(), tmp_path, **given)) for given in ({}, {"ct_calibration": "generic-icru"}))
    assert (ours.calibration.name, generic.calibration.name) == ("mine", "generic-icru")
    assert ours.run.calibration is ours.calibration
    # spots: 4 % more water before the target
    assert ours.plan.beams[0].layers[0].energy_mev > generic.plan.beams[0].layers[0].energy_mev + 2
    assert [n for n in ours.ct.notes if "mine (chosen by the CT's scanner" in n and "not confirmed" in n]
    # range scenarios: of this calibration
    (_, run, _), *_ = _groups(ours, ours.plan, Scenario("range", range_percent=3.0))
    assert run.calibration.name == "mine"
    assert run.calibration.density_g_cm3(0) == pytest.approx(1.04 * 1.03)


def test_density_overrides_are_by_the_scanners_calibration(mine: Path) -> None:
    p = of_ct1()
    given = {"overrides": [{"structure": "PTV", "density_g_cm3": 1.04}]}
    made, _ = prepare(p, refs(p), ImptBasicParameters.model_validate(given))
    assert np.unique(made.ct.hu[p.structures[2].mask]).tolist() == pytest.approx([0.0], abs=0.01)
    assert "by calibration mine" in made.notes[-1]
    other = prepare(p, refs(p), ImptBasicParameters.model_validate({**given, "ct_calibration": "generic-icru"}))[0]
    assert np.unique(other.ct.hu[p.structures[2].mask]).tolist() == pytest.approx([34.1], abs=0.1)


def test_a_mistake_in_the_sites_file_stops_what_is_automatic(mine: Path, tmp_path: Path) -> None:
    mine.write_text(mine.read_text().replace("[100, 1.1]", "[100, 0.1]"))
    with pytest.raises(InvalidRequestError, match=r"mine\.yaml, line \d+, field density\.3") as caught:
        set_up(job(of_ct1(), tmp_path))
    assert caught.value.code is ErrorCode.INVALID_MACHINE_DATA
    assert set_up(job(of_ct1(), tmp_path, ct_calibration="UCL_Toshiba")).calibration.name == "UCL_Toshiba"


def test_requests_of_before_are_read_as_they_were() -> None:
    """Stored with the default of then; and what is left out is the scanner's now."""
    old = parse_parameters(
        "proton-impt-basic", {"ct_calibration": "UCL_Toshiba", "machine": "BDL_default_UN_RangeShifter"}
    )
    assert isinstance(old, ImptBasicParameters)
    assert old.ct_calibration == "UCL_Toshiba"
    assert load_calibration(old.ct_calibration).name == "UCL_Toshiba"
    assert ImptBasicParameters().ct_calibration == RecalculationParameters().ct_calibration == "auto"

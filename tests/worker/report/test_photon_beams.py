"""Beams of photons in tables: of the report, and of answers."""

from __future__ import annotations

from radiarch_worker.photon import Rotation
from radiarch_worker.planning import beam_results
from radiarch_worker.position import PatientPosition
from radiarch_worker.report.photon_beams import COLUMNS, row

from tests.worker.dicom import photon_plans


def test_an_arc_says_where_it_goes() -> None:
    static, arc = photon_plans.static(), photon_plans.arc(3, Rotation.COUNTER_CLOCKWISE)
    cells = row(arc, PatientPosition.HFS)
    assert len(cells) == len(COLUMNS)
    assert (cells[2], cells[6], cells[7]) == ("179.9 counter-clockwise to 180.4", "6 MV", "91")
    assert row(static, PatientPosition.HFS)[2] == "40.0 from AL"
    of_static, of_arc = beam_results([static, arc])
    assert (of_static.rotation, of_static.gantry_stop_deg, of_static.spots) == (None, None, None)
    assert (of_arc.rotation, of_arc.control_points, of_arc.energy_mv) == ("counter_clockwise", 91, 6.0)

"""Parameters of photon plans: what contradicts itself is refused with its reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from radiarch_contract.photon import OpenFieldsParameters, PhotonImrtParameters, PhotonVmatParameters

OBJECTIVES = [{"structure": "PTV", "metric": "DUniform", "dose_gy": 60}]
ARC = {"start_deg": 181, "stop_deg": 179, "direction": "clockwise"}


def arcs(*given: dict[str, Any], **more: Any) -> PhotonVmatParameters:
    return PhotonVmatParameters.model_validate({"objectives": OBJECTIVES, "arcs": list(given), **more})


@pytest.mark.parametrize(
    ("start", "stop", "direction", "turn"),
    [
        (181, 179, "clockwise", 358),
        (179, 181, "counter_clockwise", 358),
        (0, 90, "clockwise", 90),
        (0, 90, "counter_clockwise", 270),
        (350, 40, "clockwise", 50),
    ],
)
def test_an_arc_turns_the_way_it_says(start: int, stop: int, direction: str, turn: float) -> None:
    (arc,) = arcs({"start_deg": start, "stop_deg": stop, "direction": direction}).arcs
    assert arc.turn_deg == pytest.approx(turn)


@pytest.mark.parametrize(
    ("arc", "says"),
    [
        ({**ARC, "stop_deg": 181}, "is 0 degrees long"),
        ({**ARC, "stop_deg": 180, "direction": "counter_clockwise"}, "is 1 degrees long"),
        ({"start_deg": 181, "stop_deg": 179}, "direction"),
        ({**ARC, "direction": "CW"}, "clockwise"),
        ({**ARC, "start_deg": 360}, "less than 360"),
        ({**ARC, "start_deg": "181"}, "number"),
    ],
)
def test_arcs_that_are_none_are_refused(arc: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        arcs(arc)


def test_control_points_are_every_2_or_4_degrees() -> None:
    assert arcs(ARC, control_point_spacing_deg=4).control_point_spacing_deg == 4
    with pytest.raises(ValidationError):
        arcs(ARC, control_point_spacing_deg=3)


def test_beams_are_evenly_spaced_where_they_are_counted() -> None:
    given = {"objectives": OBJECTIVES}
    nine = PhotonImrtParameters.model_validate(given).planned_beams
    assert [b.gantry_deg for b in nine] == pytest.approx([40 * i for i in range(9)])
    with pytest.raises(ValidationError, match="8 apertures are too few for 9 beams"):
        PhotonImrtParameters.model_validate({**given, "apertures": 8})
    with pytest.raises(ValidationError, match="not both"):
        PhotonImrtParameters.model_validate({**given, "beam_count": 3, "beams": [{"gantry_deg": 0}]})
    with pytest.raises(ValidationError, match="protons only"):
        PhotonImrtParameters.model_validate({"objectives": [{**OBJECTIVES[0], "robust": True}]})


def test_fields_have_a_meterset_each_or_none() -> None:
    with pytest.raises(ValidationError, match="of all fields, or of none"):
        OpenFieldsParameters.model_validate({"fields": [{"gantry_deg": 0, "meterset_mu": 100}, {"gantry_deg": 180}]})
    rectangle = {"x1_mm": -50, "x2_mm": 50, "y1_mm": 20, "y2_mm": 24}
    with pytest.raises(ValidationError, match="y2_mm must be at least 5 mm more than y1_mm; they are 24 and 20"):
        OpenFieldsParameters.model_validate({"fields": [{"gantry_deg": 0, "rectangle": rectangle}]})

"""The goal grammar: what is written is what is meant, and errors point at the character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_contract.goals import Goal

WELL_FORMED = [
    "PTV: D95% ≥ 95%",
    "Rectum: V20Gy ≤ 30%",
    "Rectum: V95% ≤ 2 cc",
    "Bladder: D2cc ≤ 70 Gy",
    "Rectum: Dmean ≤ 29 Gy",
    "PTV: Dmax(0.03cc) ≤ 107%",
    "PTV: Dmin ≥ 90%",
    "PTV: CI ≥ 0.8",
    "PTV: HI ≤ 0.1",
]


@pytest.mark.parametrize("text", WELL_FORMED)
def test_text_round_trips(text: str) -> None:
    goal = Goal.parse(text)
    assert goal.text == text
    assert Goal.parse(goal.text) == goal


@pytest.mark.parametrize(
    ("ascii_text", "text"), [("PTV:D95%>=95%", "PTV: D95% ≥ 95%"), ("R : Dmean <= 3Gy", "R: Dmean ≤ 3 Gy")]
)
def test_ascii_operators_and_spacing_are_accepted(ascii_text: str, text: str) -> None:
    assert Goal.parse(ascii_text).text == text


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("PTV D95% ≥ 95%", 14),  # no colon
        (": D95% ≥ 95%", 0),  # no name
        ("PTV: X95% ≥ 95%", 5),  # no metric
        ("PTV: D ≥ 95%", 6),  # no volume
        ("PTV: D95Gy ≥ 95%", 8),  # D of a dose
        ("PTV: V20cc ≤ 5%", 8),  # V of a volume
        ("PTV: D101% ≥ 95%", 6),  # more than all of it
        ("PTV: D95% = 95%", 10),  # no such operator
        ("PTV: D95% ≥ x", 12),  # no number
        ("PTV: D95% ≥ 95 cc", 17),  # a dose in cc
        ("PTV: V20Gy ≤ 30 Gy", 18),  # a volume in Gy
        ("PTV: CI ≥ 1%", 12),  # a bare number
        ("PTV: D95% ≥ 95% please", 16),
        ("PTV: Dmean(3cc) ≤ 3 Gy", 5),
    ],
)
def test_errors_point_at_the_character(text: str, position: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Goal.parse(text)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert caught.value.info.details["position"] == position
    assert caught.value.info.remedy


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        goal = Goal.parse(text)
    except InvalidRequestError as e:
        position = e.info.details["position"]
    else:
        position = 0
        assert Goal.parse(goal.text) == goal
    assert 0 <= position <= len(text)


@given(limit=st.decimals(0, 1000, places=4), volume=st.decimals(0, 100, places=3).filter(lambda v: v > 0))
def test_numbers_keep_their_digits(limit: object, volume: object) -> None:
    goal = Goal.parse(f"PTV: D{volume}% ≥ {limit} Gy")
    assert Goal.parse(goal.text) == goal


@pytest.mark.parametrize(
    ("text", "priority", "tolerance"),
    [
        ("PTV: D95% ≥ 95%", None, None),
        ("PTV: D95% ≥ 95%, priority 1", 1, None),
        ("PTV: D95% ≥ 95%, tolerance 0.5%", None, 0.5),
        ("Rectum: Dmean ≤ 29 Gy, priority 2, tolerance 1 Gy", 2, 1.0),
        ("Rectum: HI ≤ 0.1, priority 12, tolerance 0.02", 12, 0.02),
    ],
)
def test_priority_and_tolerance_behind_the_value(text: str, priority: int | None, tolerance: float | None) -> None:
    goal = Goal.parse(text)
    assert (goal.priority, goal.tolerance) == (priority, tolerance)
    assert goal.text == text
    assert Goal.parse(goal.text) == goal


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("PTV: D95% ≥ 95% priority 1", 16),
        ("PTV: D95% ≥ 95%, first", 17),
        ("PTV: D95% ≥ 95%, priority 0", 26),
        ("PTV: D95% ≥ 95%, tolerance 1 Gy", 28),
        ("PTV: Dmean ≤ 29 Gy, tolerance 1", 31),
        ("PTV: D95% ≥ 95%, priority 1, priority 2", 29),
        ("PTV: D95% ≥ 95%, priority 1 2", 28),
    ],
)
def test_errors_behind_the_value_point_at_the_character(text: str, position: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Goal.parse(text)
    assert caught.value.info.details["position"] == position

"""The grammar of normalization: what it takes, and errors that point at the character."""

from __future__ import annotations

import pytest
from radiarch_contract.check_parameters import GammaCriteria
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.normalization import Normalization
from radiarch_contract.parameters import PlanningParameters
from radiarch_contract.workflows import parse_parameters


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("D95% = 100%", "PTV: D95% = 100%"),
        ("D95%=100 %", "PTV: D95% = 100%"),
        ("CTV 57: Dmean = 57.5 Gy", "CTV 57: Dmean = 57.5 Gy"),
        ("PTV: D0.5cc = 105%", "PTV: D0.5cc = 105%"),
    ],
)
def test_says_what_it_means(text: str, says: str) -> None:
    found = Normalization.parse(text, target="PTV")
    assert found.text == says
    assert Normalization.parse(says, target="other").text == says


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("", 1),
        ("D95%", 5),
        ("D95% >= 100%", 6),
        ("D95% = 100% = 3", 13),
        ("D95% = 100%, priority 1", 12),
        ("X95% = 100%", 1),
        ("PTV: V20Gy = 30%", 6),
        ("HI = 0.1", 1),
        ("D95% = many", 8),
        ("D95% = 0%", 7),
        ("D95% = 3 cc", 12),
    ],
)
def test_errors_point_at_the_character(text: str, character: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"character {character} is") as caught:
        Normalization.parse(text, target="PTV")
    assert caught.value.info.remedy


def test_parameters_refuse_what_cannot_be_read() -> None:
    assert parse_parameters("proton-impt-basic", {"normalization": "D95% = 100%"})
    with pytest.raises(InvalidRequestError, match="character 5"):
        parse_parameters("proton-impt-basic", {"normalization": "D95%"})


def test_the_old_spelling_is_accepted_and_said() -> None:
    new, old = (
        parse_parameters("proton-impt-basic", {name: "D95% = 100%"}) for name in ("normalization", "normalisation")
    )
    assert isinstance(new, PlanningParameters)
    assert isinstance(old, PlanningParameters)
    assert new.normalization == old.normalization
    assert not new.notes
    assert ["normalisation" in n and "normalization" in n for n in old.notes] == [True]
    asked = {"beams": [{"gantry_deg": 0}], "normalisation": None}
    assert not parse_parameters("proton-impt-basic", asked, stored=True).notes
    gamma = GammaCriteria.model_validate({"normalisation": "local"})
    assert gamma.model_dump() == GammaCriteria(normalization="local").model_dump()

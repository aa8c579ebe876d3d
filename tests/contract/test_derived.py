"""The grammar of derived structures: what it reads, and where it says that it cannot."""

from __future__ import annotations

import pytest
from radiarch_contract.derived import Combined, Named, WithMargin, in_order, leaves, parse
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.workflows import parse_parameters


def test_words_bind_as_parentheses_say() -> None:
    ring = parse("(PTV grown 20 mm) minus (PTV grown 5mm)")
    assert isinstance(ring, Combined)
    assert ring.word == "minus"
    assert ring.right == WithMargin(Named("PTV"), True, (5.0,) * 6)
    assert parse("PTV grown 20 mm minus PTV grown 5 mm") == ring
    assert parse("A minus B minus C") == Combined("minus", Combined("minus", Named("A"), Named("B")), Named("C"))
    assert parse("A cut by B") == parse("A minus B")
    assert parse("'A and B' AND 5") == Combined("and", Named("A and B"), Named("5"))


def test_margins_by_direction() -> None:
    found = parse("PTV shrunk 4 mm except superior 0 mm, inferior 1.5mm")
    assert found == WithMargin(Named("PTV"), False, (4.0, 4.0, 4.0, 4.0, 0.0, 1.5))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("PTV minus", 9),
        ("PTV & Rectum", 4),
        ("Outer Target minus Core", 6),
        ("A and B or C", 8),
        ("(A or B", 7),
        ("A or B)", 6),
        ("A grown 5 cm", 10),
        ("A grown mm", 8),
        ("A grown 500 mm", 8),
        ("A grown 5 mm except upwards 3 mm", 20),
        ("A grown 5 mm except left 3 mm, left 2 mm", 31),
        ("A cut B", 6),
        ("'A minus B", 0),
        ("'' or A", 1),
        ("minus A", 0),
    ],
)
def test_errors_point_at_the_character(text: str, position: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(text)
    assert caught.value.info.details["position"] == position
    assert f"character {position + 1} is" in str(caught.value)


def test_what_is_never_read_is_bounded() -> None:
    for text in ("A or " * 100 + "A", "(" * 40 + "A" + ")" * 40):
        with pytest.raises(InvalidRequestError):
            parse(text)
    # Each uses the two before it: without memory this would take 2^39 steps.
    many = {f"D{i}": f"D{i - 1} or D{i - 2}" for i in range(2, 40)}
    assert leaves(["D39"], many) == ["D1", "D0"]


def test_definitions_are_made_after_their_parts_and_never_of_themselves() -> None:
    definitions = {"Ring": "Outer minus PTV", "Outer": "PTV grown 9 mm"}
    assert in_order(definitions) == ["Outer", "Ring"]
    assert leaves(["Ring", "Rectum"], definitions) == ["PTV", "Rectum"]
    with pytest.raises(InvalidRequestError, match="A → B → A"):
        leaves(["A"], {"A": "B", "B": "A or C"})
    with pytest.raises(InvalidRequestError, match="made of itself"):
        parse_parameters("proton-impt-basic", {"derived": {"PTV": "PTV grown 3 mm"}})
    with pytest.raises(InvalidRequestError, match=r"derived\.Ring.*character 5"):
        parse_parameters("proton-impt-basic", {"derived": {"Ring": "PTV +"}})

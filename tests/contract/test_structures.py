"""Names stand for the ROI that a planner would point at."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_contract._tg263_dict import SYNONYMS
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.structures import (
    Ambiguity,
    Rank,
    Roi,
    StructureSelector,
    dose_level,
    find_roi,
    is_helper,
    normalize,
    resolve,
)


def rois(*names: str, types: dict[str, str] | None = None) -> list[Roi]:
    return [Roi(number=i + 1, name=n, interpreted_type=(types or {}).get(n, "")) for i, n in enumerate(names)]


def chosen(found: Roi | Ambiguity | None) -> str:
    assert isinstance(found, Roi), found
    return found.name


@pytest.mark.parametrize(
    ("wanted", "present"),
    [
        ("Femur_Head_L", "Femoral_head_L"),
        ("Femur_Head_R", "Right Femoral Head"),
        ("Bladder", "BLADDER"),
        ("Bladder", "Harnblase"),
        ("BODY", "External"),
        ("Rectum", "rectum"),
        ("Lungs", "Lung Total"),
        ("Breast_L", "Breast Left"),
        ("Breast_L", "Left Breast"),
        ("SpinalCord", "Cord"),
        ("Parotid_L", "Parotid L"),
        ("Parotid_R", "Rt Parotid"),
        ("PTV_60", "PTV60"),
        ("PTV_60", "PTV 60 Gy"),
        ("PTV_60", "PTV_6000"),
        ("PTV_6000", "ptv60"),
        ("PTV", "PTV_60"),
        ("CTV", "ctv 59.4Gy"),
    ],
)
def test_tg263_names_find_their_synonyms(wanted: str, present: str) -> None:
    assert chosen(find_roi(wanted, None, rois("Other", present))) == present


def test_left_is_never_right() -> None:
    assert find_roi("Femur_Head_L", None, rois("Femoral_head_R", "Right Femoral Head")) is None


SIDES = ("L", "R", "Left", "Right", "Lt", "Rt", "li", "re")
PAIRED = sorted(name.removesuffix("_L") for name in SYNONYMS if name.endswith("_L"))


@given(base=st.sampled_from(PAIRED), word=st.sampled_from(SIDES), before=st.booleans(), blank=st.sampled_from(" _-"))
def test_a_side_is_never_taken_for_the_other_however_it_is_written(
    base: str, word: str, before: bool, blank: str
) -> None:
    roi = f"{word}{blank}{base}" if before else f"{base}{blank}{word}"
    side = "L" if word[0] in "Ll" else "R"
    assert chosen(find_roi(f"{base}_{side}", None, rois("Other", roi))) == roi
    assert find_roi(f"{base}_{'R' if side == 'L' else 'L'}", None, rois("Other", roi)) is None


def test_a_synonym_is_of_one_organ() -> None:
    """But for the bowel, whose parts are contoured as the whole."""
    names: dict[str, set[str]] = {}
    for name, synonyms in SYNONYMS.items():
        for form in {normalize(n) for n in (name, *synonyms)}:
            names.setdefault(form, set()).add(name)
    assert {frozenset(n) for n in names.values() if len(n) > 1} == {
        frozenset({"Bowel", "Bag_Bowel"}),
        frozenset({"Bowel", "Bowel_Small"}),
    }


@given(
    name=st.sampled_from(sorted(SYNONYMS)),
    made=st.sampled_from([" opt", "_ring", "-PTV", " PRV", " minus GTV", "_eval", "!", "~", "+5mm", " 2", "_cropped"]),
    write=st.sampled_from([str.strip, str.lower, str.upper]),
)
def test_what_is_made_of_an_organ_is_not_the_organ(name: str, made: str, write: Callable[[str], str]) -> None:
    for called in (name, *SYNONYMS[name]):
        if not (name in ("CTV", "GTV", "PTV", "ITV") and made == "_eval"):
            assert find_roi(name, None, rois(write(called) + made)) is None


@given(
    doses=st.lists(st.integers(10, 99), min_size=2, max_size=4, unique=True),
    form=st.sampled_from(["{}_{}", "{}{}", "{} {}Gy", "{}-{}00", "{}_{}00cGy"]),
    kind=st.sampled_from(["PTV", "CTV", "GTV", "ITV"]),
)
def test_dose_levels_are_told_apart_and_never_chosen_between(doses: list[int], form: str, kind: str) -> None:
    present = rois(*(form.format(kind, d) for d in doses))
    for dose, roi in zip(doses, present, strict=True):
        assert find_roi(f"{kind}_{dose}", None, present) == roi
    found = find_roi(kind, None, present)
    assert isinstance(found, Ambiguity)
    assert found.rank is Rank.LEVEL
    missing = next(d for d in range(10, 100) if d not in doses)
    assert find_roi(f"{kind}_{missing}", None, present) is None
    assert find_roi("PTV" if kind != "PTV" else "CTV", None, present) is None


@pytest.mark.parametrize("other", ["PTV_boost", "PTV LN", "PTV_60_eval", "PTV_60_30", "PTV-GTV", "ptv2"])
def test_a_dose_in_its_name_does_not_choose_a_target_beside_another(other: str) -> None:
    assert isinstance(find_roi("PTV", None, rois("PTV_60", other)), Ambiguity)
    assert chosen(find_roi("PTV_60", None, rois("PTV_60Gy", other))) == "PTV_60Gy"


@pytest.mark.parametrize(
    "other", ["_PTV_60", "zPTV_50", "PTV_60_opt", "PTV_opti", "PTV_60 Ring 2", "PTV60-Ring", "GTV_60"]
)
def test_what_is_made_for_planning_is_no_rival(other: str) -> None:
    assert chosen(find_roi("PTV", None, rois("PTV_60", other))) == "PTV_60"
    assert find_roi("PTV", None, rois(other)) is None


@pytest.mark.parametrize("name", ["PTV_7", "PTV_101", "PTV_999", "PTV_12000", "PTV_060", "PTV_60_Gy_2", "PTV 6,0"])
def test_a_number_that_is_no_dose_is_none(name: str) -> None:
    assert dose_level(name) is None
    assert find_roi("PTV", None, rois(name)) is None


def test_a_pattern_comes_before_the_dose_of_a_name() -> None:
    selector = StructureSelector(patterns=(r"ptv[ _]?\d+",))
    assert chosen(find_roi("PTV", selector, rois("PTV_60", "PTV LN"))) == "PTV_60"


def test_the_exact_name_wins_over_synonyms_and_patterns() -> None:
    selector = StructureSelector(names=("PTV_High",), patterns=("PTV.*",))
    assert chosen(find_roi("PTV", selector, rois("PTV_High", "PTV_boost", "PTV"))) == "PTV"


def test_patterns_match_the_whole_name() -> None:
    selector = StructureSelector(patterns=(r"ptv[ _]?\d+",))
    assert find_roi("target", selector, rois("PTV_76_ring")) is None
    assert chosen(find_roi("target", selector, rois("PTV_76_ring", "PTV_76"))) == "PTV_76"


def test_body_is_found_by_its_type() -> None:
    roi = find_roi("BODY", None, rois("Contour 1", types={"Contour 1": "EXTERNAL"}))
    assert roi is not None


def test_resolve_reports_what_is_missing() -> None:
    found, missing = resolve(["PTV", "Rectum", "PTV"], {}, rois("PTV"))
    assert list(found) == ["PTV"]
    assert missing == ["Rectum"]


def test_normalize_drops_accents_and_separators() -> None:
    assert normalize("Hüft-Kopf_re ") == "huftkopfre"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Lung_L", "Lung~_L"),  # TG-263: a part of it
        ("PTV", "PTV!"),  # TG-263: cropped
        ("PTV", "PTV+"),
        ("Lungs", "Lungs^Ex"),
        ("PTV15", "PTV1.5"),
        ("PTV_60_30", "PTV_6030"),
        ("हृदय", "हदय"),
    ],
)
def test_names_that_mean_something_else_are_not_taken_for_each_other(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)
    assert find_roi(one, None, rois(other)) is None


@pytest.mark.parametrize("other", ["ptv_60", "PTV 60", "PTV-60 ", "PTV\u00a060", "ＰＴＶ60", "PTV\u200b_60"])
def test_names_that_are_written_differently_are_taken_for_each_other(other: str) -> None:
    assert chosen(find_roi("PTV_60", None, rois("BODY", other))) == other


HELPERS = ["_PTV", "~PTV", "*PTV", "!PTV", "-PTV", ".PTV", "#PTV", "__ptv", " _PTV", "(PTV)", "^PTV", "+PTV", "$PTV"]
LETTERS = [
    "z_PTV",
    "zPTV",
    "zzPTV",
    "zz_ptv",
    "Z_PTV",
    "ZPTV",
    "zptv",
    "x_PTV",
    "xPTV",
    "X PTV",
    "xx-ptv",
    "zRing",
    "zBODY",
]


@pytest.mark.parametrize("name", HELPERS + LETTERS)
def test_a_helper_is_known_by_how_it_begins(name: str) -> None:
    assert is_helper(name)


@pytest.mark.parametrize(
    "name", ["PTV", "Zunge", "zunge", "ziel 2", "Xiphoid", "xiphoid", "Zewnętrzny", "ptv_", "x17", "髄"]
)
def test_an_organ_is_no_helper(name: str) -> None:
    assert not is_helper(name)


@given(
    wanted=st.sampled_from([*SYNONYMS, *(s for all_of in SYNONYMS.values() for s in all_of), "oar", "ptv 60"]),
    mark=st.text(string.punctuation, min_size=1, max_size=3),
    blank=st.sampled_from(["", " ", "_"]),
    change=st.sampled_from([str.strip, str.lower, str.upper]),
)
def test_a_helper_never_stands_for_an_organ_or_target(
    wanted: str, mark: str, blank: str, change: Callable[[str], str]
) -> None:
    helper = mark + blank + change(wanted)
    for name in {wanted, *(key for key, all_of in SYNONYMS.items() if wanted in all_of)}:
        selector = StructureSelector(names=(wanted, wanted.lower()))
        assert find_roi(name, selector, rois("Other", helper, types={helper: "EXTERNAL"})) is None


def test_a_helper_is_found_where_it_is_named_exactly_or_by_a_pattern() -> None:
    present = rois("_PTV", "ptv")
    assert chosen(find_roi("_PTV", None, present)) == "_PTV"
    assert chosen(find_roi("PTV", None, present)) == "ptv"
    assert find_roi("PTV", StructureSelector(names=("_PTV",)), rois("_PTV", "x")) == rois("_PTV")[0]
    assert chosen(find_roi("A", StructureSelector(patterns=("_ptv",)), present)) == "_PTV"
    assert find_roi("_ptv", None, rois("_PTV")) is None


@pytest.mark.parametrize(
    ("name", "selector", "present", "rank"),
    [
        ("PTV", {}, ("PTV", "PTV"), Rank.EXACT),
        ("PTV", {}, ("PTV", "PTV "), Rank.EXACT),
        ("PTV_60", {}, ("PTV60x", "ptv_60", "PTV 60"), Rank.NAMES),
        ("PTV", {"names": ["A", "B"]}, ("A", "B"), Rank.NAMES),
        ("PTV", {"names": ["A"]}, ("ptv", "A"), Rank.NAMES),
        ("PTV", {}, ("PTV1", "PTV_High"), Rank.SYNONYM),
        ("BODY", {}, ("Skin", "External"), Rank.SYNONYM),
        ("PTV", {"patterns": ["ptv.*"]}, ("PTV_a", "PTV_b"), Rank.PATTERN),
        ("BODY", {}, ("Hull 1", "Hull 2"), Rank.TYPE),
    ],
)
def test_two_rois_of_one_rank_are_told_apart_by_nobody(
    name: str, selector: dict[str, list[str]], present: tuple[str, ...], rank: Rank
) -> None:
    types = {n: "EXTERNAL" for n in present if n.startswith("Hull")}
    found = find_roi(name, StructureSelector.model_validate(selector), rois(*present, types=types))
    assert isinstance(found, Ambiguity)
    assert found.rank is rank
    assert len(found.rois) == 2
    with pytest.raises(InputRefusedError) as caught:
        resolve([name], {name: StructureSelector.model_validate(selector)}, rois(*present, types=types))
    error = caught.value.info
    assert error.code is ErrorCode.AMBIGUOUS_STRUCTURE
    for roi in found.rois:
        assert f"{roi.name!r} (ROI {roi.number})" in error.message
        assert {"roi_number": roi.number, "roi_name": roi.name} in error.details["ambiguous"][0]["candidates"]


@given(st.permutations(["PTV1", "PTV_High", "Rectum", "_PTV", "ptv+"]))
def test_the_order_of_the_rois_does_not_matter(names: list[str]) -> None:
    found = find_roi("PTV", None, rois(*names))
    assert isinstance(found, Ambiguity)
    assert {r.name for r in found.rois} == {"PTV1", "PTV_High"}


def test_a_better_rank_settles_what_would_be_ambiguous_in_a_later_one() -> None:
    assert chosen(find_roi("PTV_60", None, rois("ptv_60", "PTV_60", "PTV60"))) == "PTV_60"
    assert chosen(find_roi("PTV", None, rois("PTV1", "PTV_High", "Ptv"))) == "Ptv"
    ordered = StructureSelector(patterns=("ptv.*", "ctv.*"))
    assert chosen(find_roi("T", ordered, rois("CTV_1", "CTV_2", "PTV_1"))) == "PTV_1"


def test_a_roi_without_contours_is_no_rival() -> None:
    empty, drawn = Roi(number=1, name="PTV1", contours=0), Roi(number=2, name="PTV_High", contours=9)
    assert find_roi("PTV", None, [empty, drawn]) == drawn
    assert find_roi("PTV", None, [empty]) == empty  # refused later, by its own name
    twins = [empty, empty.model_copy(update={"number": 3, "name": "PTV_High"})]
    assert isinstance(find_roi("PTV", None, twins), Ambiguity)


def test_thousands_of_rois_are_looked_through_at_once() -> None:
    many = rois(*(f"organ {i}" for i in range(2_000)), "BODY")
    found, missing = resolve([*SYNONYMS, *(f"Organ_{i}" for i in range(100))], {}, many)
    assert len(found) == 101
    assert "PTV" in missing

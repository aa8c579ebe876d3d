"""Names stand for the ROI that a planner would point at."""

from __future__ import annotations

import pytest
from radiarch_contract.structures import Roi, StructureSelector, find_roi, normalise, resolve


def rois(*names: str, types: dict[str, str] | None = None) -> list[Roi]:
    return [Roi(number=i + 1, name=n, interpreted_type=(types or {}).get(n, "")) for i, n in enumerate(names)]


@pytest.mark.parametrize(
    ("wanted", "present"),
    [
        ("Femur_Head_L", "Femoral_head_L"),
        ("Femur_Head_R", "Right Femoral Head"),
        ("Bladder", "BLADDER"),
        ("Bladder", "Harnblase"),
        ("BODY", "External"),
        ("Rectum", "rectum"),
    ],
)
def test_tg263_names_find_their_synonyms(wanted: str, present: str) -> None:
    roi = find_roi(wanted, None, rois("Other", present))
    assert roi is not None
    assert roi.name == present


def test_left_is_never_right() -> None:
    assert find_roi("Femur_Head_L", None, rois("Femoral_head_R", "Right Femoral Head")) is None


def test_the_exact_name_wins_over_synonyms_and_patterns() -> None:
    selector = StructureSelector(names=("PTV_High",), patterns=("PTV.*",))
    roi = find_roi("PTV", selector, rois("PTV_High", "PTV_boost", "PTV"))
    assert roi is not None
    assert roi.name == "PTV"


def test_patterns_match_the_whole_name() -> None:
    selector = StructureSelector(patterns=(r"ptv[ _]?\d+",))
    assert find_roi("target", selector, rois("PTV_76_ring")) is None
    roi = find_roi("target", selector, rois("PTV_76_ring", "PTV_76"))
    assert roi is not None
    assert roi.name == "PTV_76"


def test_body_is_found_by_its_type() -> None:
    roi = find_roi("BODY", None, rois("Contour 1", types={"Contour 1": "EXTERNAL"}))
    assert roi is not None


def test_resolve_reports_what_is_missing() -> None:
    found, missing = resolve(["PTV", "Rectum", "PTV"], {}, rois("PTV"))
    assert list(found) == ["PTV"]
    assert missing == ["Rectum"]


def test_normalise_drops_accents_and_separators() -> None:
    assert normalise("Hüft-Kopf_re ") == "huftkopfre"

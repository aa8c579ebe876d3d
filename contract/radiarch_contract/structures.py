"""Matching of structure names: TG-263 names, their synonyms, and patterns; contours are the worker's business."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ._tg263_dict import SYNONYMS


def _is_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as e:
        raise ValueError(f"not a regular expression: {e}") from e
    return value


Pattern = Annotated[str, Field(max_length=200), AfterValidator(_is_pattern)]


class StructureSelector(BaseModel):
    """How a protocol finds one structure: exact names first, then TG-263 synonyms, then patterns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    required: bool = False


class Roi(BaseModel):
    """One item of an RTSTRUCT's StructureSetROISequence with its interpreted type."""

    model_config = ConfigDict(frozen=True)

    number: int
    name: str
    interpreted_type: str = ""


class StructureRef(BaseModel):
    """A name used by objectives and goals, and the ROI that it stands for in this RTSTRUCT."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    roi_number: int
    roi_name: str


def normalise(name: str) -> str:
    """Letters and digits only, case-folded, accents dropped: 'Femoral_head-R' → 'femoralheadr'."""
    text = unicodedata.normalize("NFKD", name).casefold()
    return "".join(c for c in text if c.isalnum())


def find_roi(name: str, selector: StructureSelector | None, rois: Sequence[Roi]) -> Roi | None:
    """The ROI that ``name`` stands for, or None.

    In this order: the exact name, the selector's names, the TG-263 synonyms of ``name``, the
    selector's patterns (whole name, case-insensitive), and for BODY the interpreted type EXTERNAL.
    Within one step the first ROI of the structure set wins.
    """
    by_exact = {r.name: r for r in reversed(rois)}
    if name in by_exact:
        return by_exact[name]
    by_norm = {normalise(r.name): r for r in reversed(rois)}
    wanted = [name, *(selector.names if selector else ()), *SYNONYMS.get(name, ())]
    for w in wanted:
        if (roi := by_norm.get(normalise(w))) is not None:
            return roi
    for pattern in selector.patterns if selector else ():
        compiled = re.compile(pattern, re.IGNORECASE)
        for roi in rois:
            if compiled.fullmatch(roi.name):
                return roi
    if name == "BODY":
        return next((r for r in rois if r.interpreted_type == "EXTERNAL"), None)
    return None


def resolve(
    names: Sequence[str], selectors: Mapping[str, StructureSelector], rois: Sequence[Roi]
) -> tuple[dict[str, StructureRef], list[str]]:
    """Resolve every name; the second value lists the names that no ROI stands for."""
    found: dict[str, StructureRef] = {}
    missing: list[str] = []
    for name in dict.fromkeys(names):
        roi = find_roi(name, selectors.get(name), rois)
        if roi is None:
            missing.append(name)
        else:
            found[name] = StructureRef(name=name, roi_number=roi.number, roi_name=roi.name)
    return found, missing

"""Matching of structure names: TG-263 names, their synonyms, and patterns; contours are the worker's business.

What a name stands for is found in ranks (`Rank`); the first rank that has a ROI decides. Two ROIs of one rank are
never chosen between: the name is ambiguous, and who needs it has to say which is meant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

from ._tg263_dict import SYNONYMS
from .errors import ErrorCode, InputRefusedError
from .strict import Asked, Strict

MAX_NAMED = 10
"""ROIs of one ambiguous name that a message lists."""


def _is_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as e:
        raise ValueError(f"not a regular expression: {e}") from e
    return value


Pattern = Annotated[str, Field(max_length=200), AfterValidator(_is_pattern)]


class StructureSelector(Asked):
    """How a protocol finds one structure: exact names first, then TG-263 synonyms, then patterns."""

    names: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = Field(default=(), description="Tried in this order.")
    required: bool = False


class Roi(Strict):
    """One item of an RTSTRUCT's StructureSetROISequence with its interpreted type."""

    number: int
    name: str
    interpreted_type: str = ""
    contours: int | None = Field(default=None, description="How many it has; null where they were not counted.")
    display_color: tuple[int, int, int] | None = Field(
        default=None, description="ROI Display Color (3006,002A), 0 to 255; null where there is none."
    )

    @property
    def described(self) -> str:
        return f"{self.name!r} (ROI {self.number})"


class StructureRef(Strict):
    """A name used by objectives and goals, and the ROI that it stands for in this RTSTRUCT."""

    name: str
    roi_number: int
    roi_name: str


class Rank(StrEnum):
    """How a ROI was found, best first."""

    EXACT = "the exact name"
    NAMES = "the name, or one of the protocol's names"
    SYNONYM = "a synonym"
    PATTERN = "a pattern"
    TYPE = "the interpreted type EXTERNAL"
    LEVEL = "its kind of target and dose"


@dataclass(frozen=True)
class Ambiguity:
    """Several ROIs of one rank that a name could stand for."""

    name: str
    rank: Rank
    rois: tuple[Roi, ...]

    def __str__(self) -> str:
        listed = ", ".join(r.described for r in self.rois[:MAX_NAMED])
        more = f" and {len(self.rois) - MAX_NAMED} more" if len(self.rois) > MAX_NAMED else ""
        return f"{self.name!r} could stand for {listed}{more}: each is found by {self.rank}"


@dataclass(frozen=True)
class Resolution:
    """What names stand for in one structure set.

    Attributes
    ----------
    found : by name
    missing : names that no ROI stands for
    ambiguous : names that several ROIs could stand for
    """

    found: dict[str, StructureRef] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    ambiguous: list[Ambiguity] = field(default_factory=list)

    def require_clear(self) -> None:
        """Raise `InputRefusedError` (ambiguous_structure) where a name is ambiguous."""
        if self.ambiguous:
            raise ambiguous_structures(self.ambiguous)


# Separators that people write in different ways; every other character says something. TG-263 has ~ for a part of an
# organ, ! for a cropped target, ^ for what a site names itself; a + is a margin.
_SEPARATORS = frozenset(".,;:/\\'\"`´’")
_SEPARATOR_CATEGORIES = frozenset(("Zs", "Pc", "Pd", "Ps", "Pe"))  # blanks, underscores, dashes, brackets
_COMBINING = re.compile("[\u0300-\u036f]")  # accents of Latin, Greek and Cyrillic; marks of other scripts are letters
_HELPER_LETTERS = re.compile(r"[zx]+[ _.\-]|zz", re.IGNORECASE)
_HELPER_CAMEL = re.compile(r"[zx]+[A-Z]")
_TARGET = re.compile(r"i?[pcg]tv|itv")
_HELPER_OF_TARGET = re.compile(r"[zx](?:i?[pcg]tv|itv|body|external)", re.IGNORECASE)


@lru_cache(maxsize=16_384)
def spelled(name: str) -> str:
    """A name as somebody reads it: without blanks at its ends and characters that cannot be seen."""
    text = unicodedata.normalize("NFC", name)
    return "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc")).strip()


@lru_cache(maxsize=16_384)
def normalize(name: str) -> str:
    """Case-folded, without accents and separators: 'Femoral_head-R' → 'femoralheadr'.

    Between two digits a separator stays, as 'PTV_1.5' is not 'PTV_15'. Marks that mean something stay: 'Lung~' is a
    part of 'Lung'.
    """
    text = _COMBINING.sub("", unicodedata.normalize("NFKD", spelled(name)).casefold())
    kept: list[str] = []
    separated = False
    for c in text:
        if c in _SEPARATORS or unicodedata.category(c) in _SEPARATOR_CATEGORIES:
            separated = True
            continue
        if separated and kept and kept[-1].isdigit() and c.isdigit():
            kept.append("_")
        kept.append(c)
        separated = False
    return "".join(kept)


@lru_cache(maxsize=16_384)
def is_helper(name: str) -> bool:
    """Whether a name begins as planners mark contours that only help to plan: ``_PTV``, ``~OAR``, ``zPTV``, ``x_ring``.

    Any character that is neither letter nor digit marks one, and TG-263's ``z`` (also ``zz``, ``x``) before a
    capital, a separator or a target's name.
    """
    text = spelled(name)
    if not text or not text[0].isalnum():
        return True
    return bool(_HELPER_LETTERS.match(text) or _HELPER_CAMEL.match(text) or _HELPER_OF_TARGET.match(text))


def looks_like_target(name: str, interpreted_type: str = "") -> bool:
    """Whether a ROI is a target by its interpreted type, or by a name such as PTV_60, CTVn, GTVp, ITV."""
    if interpreted_type in ("PTV", "CTV", "GTV"):
        return True
    return _TARGET.match(normalize(name)) is not None and not is_helper(name)


# A target's name with its dose: 'PTV_60', 'PTV 60Gy', 'PTV-6000', 'ctv59.4'. Two figures at least: 'PTV2' is no dose.
_LEVEL = re.compile(r"(ptv|ctv|gtv|itv)[ _-]*([1-9]\d{1,3}(?:[.,]\d{1,2})?)[ _]*(gy|cgy)?", re.IGNORECASE)
_KINDS = ("ptv", "ctv", "gtv", "itv")
_MADE_FOR_PLANNING = re.compile(r"opti?|optim.*|ring.*|shell|help.*|dummy|avoid.*", re.IGNORECASE)


@lru_cache(maxsize=16_384)
def dose_level(name: str) -> tuple[str, float] | None:
    """The kind of target and the dose that a name consists of, or None.

    Without a unit, two figures are Gy and four are cGy; what then is less than 10 Gy or more than 100 Gy is no dose.

    Examples
    --------
    >>> dose_level("PTV_60"), dose_level("ptv 6000cGy"), dose_level("CTV59.4")
    (('ptv', 60.0), ('ptv', 60.0), ('ctv', 59.4))
    >>> dose_level("PTV_60_opt"), dose_level("PTV2"), dose_level("PTV_60_30"), dose_level("zPTV_60")
    (None, None, None, None)
    """
    m = _LEVEL.fullmatch(spelled(name))
    if m is None:
        return None
    value, unit = float(m[2].replace(",", ".")), (m[3] or "").lower()
    dose_gy = value / 100 if unit == "cgy" or (not unit and value >= 1000) else value
    return (m[1].lower(), dose_gy) if 10 <= dose_gy <= 100 else None


_SAME_DOSE = 0.02
"""By how much, relative, a dose may differ from the one in a target's name: names are rounded."""


def named_for_another_dose(
    doses_gy: Mapping[str, float], found: Mapping[str, StructureRef], selectors: Mapping[str, StructureSelector]
) -> str | None:
    """In words, the first target whose ROI has another dose in its name than is prescribed, or None.

    Not asked of targets that have a dose in the name that was prescribed to, and of ROIs that a selector names exactly:
    there somebody has said which is meant.

    Parameters
    ----------
    doses_gy : what is prescribed to each target
    """
    for target, dose_gy in doses_gy.items():
        ref = found.get(target)
        level = None if ref is None else dose_level(ref.roi_name)
        if ref is None or level is None or dose_level(target) is not None:
            continue
        chosen = selectors[target].names if target in selectors else ()
        if abs(level[1] / dose_gy - 1) > _SAME_DOSE and ref.roi_name not in chosen:
            return (
                f"the target {target!r} would be {ref.roi_name!r} (ROI {ref.roi_number}), whose name says "
                f"{level[1]:g} Gy; {dose_gy:g} Gy are prescribed"
            )
    return None


def _is_rival(name: str, kind: str) -> bool:
    """Whether a ROI is a target of this kind, as far as its name tells, and not made for planning only."""
    words = re.split(r"[^a-z0-9]+", spelled(name).casefold())
    return (
        normalize(name).startswith(kind) and not is_helper(name) and not any(map(_MADE_FOR_PLANNING.fullmatch, words))
    )


def _of_level(name: str, rois: Sequence[Roi]) -> list[Roi]:
    """Targets of the kind and dose that a name has; for a kind alone, as 'PTV', the only one that there is of it.

    Where one of its kind has a dose in its name, every other one is a rival: nobody knows which is meant.
    """
    if (wanted := dose_level(name)) is not None:
        return [r for r in rois if dose_level(r.name) == wanted]
    kind = spelled(name).casefold()
    if kind not in _KINDS or not any((found := dose_level(r.name)) and found[0] == kind for r in rois):
        return []
    return [r for r in rois if _is_rival(r.name, kind)]


def find_roi(name: str, selector: StructureSelector | None, rois: Sequence[Roi]) -> Roi | Ambiguity | None:
    """The ROI that ``name`` stands for, or None.

    In this order: the exact name; the name and the selector's names, compared by `normalize`; the TG-263 synonyms of
    ``name``; the selector's patterns (whole name, case-insensitive), one after the other; for BODY the interpreted
    type EXTERNAL; for targets their kind and dose (`dose_level`). Helper contours (`is_helper`) are found by an exact
    name or a pattern only. Where a rank has several ROIs, those without any contour do not count.
    """
    for rank, candidates in _ranks(name, selector, rois):
        drawn = [r for r in candidates if r.contours != 0]
        chosen = drawn if len(candidates) > 1 and drawn else candidates
        if len(chosen) > 1:
            return Ambiguity(name, rank, tuple(chosen))
        if chosen:
            return chosen[0]
    return None


def _ranks(name: str, selector: StructureSelector | None, rois: Sequence[Roi]) -> Iterable[tuple[Rank, list[Roi]]]:
    yield Rank.EXACT, _exactly(name, rois)
    yield Rank.NAMES, _called([name, *(selector.names if selector else ())], rois)
    yield Rank.SYNONYM, _called(SYNONYMS.get(name, ()), rois)
    for pattern in selector.patterns if selector else ():
        compiled = re.compile(pattern, re.IGNORECASE)
        yield Rank.PATTERN, [r for r in rois if compiled.fullmatch(spelled(r.name))]
    if name == "BODY":
        yield Rank.TYPE, [r for r in rois if r.interpreted_type == "EXTERNAL" and not is_helper(r.name)]
    yield Rank.LEVEL, _of_level(name, rois)


@lru_cache(maxsize=1)
def standard_names() -> dict[str, str]:
    """What is known of TG-263: the standard name by the normalised form of it and of each of its synonyms."""
    found = {normalize(synonym): name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
    return found | {normalize(name): name for name in SYNONYMS}


def _exactly(name: str, rois: Sequence[Roi]) -> list[Roi]:
    wanted = spelled(name)
    return [r for r in rois if spelled(r.name) == wanted]


def _called(names: Iterable[str], rois: Sequence[Roi]) -> list[Roi]:
    """ROIs that have one of the names: exactly, else but for case, accents and separators; each once."""
    found: dict[int, Roi] = {}
    for wanted in names:
        same = _exactly(wanted, rois)
        if not same and (form := normalize(wanted)):
            same = [r for r in rois if normalize(r.name) == form and not is_helper(r.name)]
        found |= {r.number: r for r in same}
    return list(found.values())


def look_up(names: Iterable[str], selectors: Mapping[str, StructureSelector], rois: Sequence[Roi]) -> Resolution:
    """What each name stands for, each once."""
    result = Resolution()
    for name in dict.fromkeys(names):
        roi = find_roi(name, selectors.get(name), rois)
        if roi is None:
            result.missing.append(name)
        elif isinstance(roi, Ambiguity):
            result.ambiguous.append(roi)
        else:
            result.found[name] = StructureRef(name=name, roi_number=roi.number, roi_name=roi.name)
    return result


def resolve(
    names: Sequence[str], selectors: Mapping[str, StructureSelector], rois: Sequence[Roi]
) -> tuple[dict[str, StructureRef], list[str]]:
    """Resolve every name; the second value lists the names that no ROI stands for.

    Raises
    ------
    InputRefusedError
        ``ambiguous_structure``: several ROIs of one rank could be meant.
    """
    result = look_up(names, selectors, rois)
    result.require_clear()
    return result.found, result.missing


def ambiguous_structures(ambiguous: Sequence[Ambiguity]) -> InputRefusedError:
    """The refusal of names that several ROIs could stand for."""
    return InputRefusedError(
        "; ".join(map(str, ambiguous[:MAX_NAMED])),
        remedy="Give each structure a name of its own in the planning system, or say which ROI is meant: in the "
        "protocol under structures (names or a narrower pattern), in a request with structures, by name or number.",
        code=ErrorCode.AMBIGUOUS_STRUCTURE,
        ambiguous=[
            {
                "name": a.name,
                "found_by": a.rank.value,
                "candidates": [{"roi_number": r.number, "roi_name": r.name} for r in a.rois[:MAX_NAMED]],
            }
            for a in ambiguous[:MAX_NAMED]
        ],
    )

"""The images of a structure set in Orthanc: which series it means, and whether that is whole.

Which series is the contract's rule. A structure set may name all images of it, or only those that have contours: then
there are more, and how many is written nowhere. So a series of which not every image is named, or that has a gap, is
taken when nothing of it has come for a while; one of which every image is named, at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

from radiarch_contract.errors import NotFoundError
from radiarch_contract.images import Located, SeriesKey, WantedImages, decide, locate, may_be

from radiarch_plugin.orthanc.client import StoredInstance, StoredSlice

from .rtstruct import RtstructFacts

SETTLE_S = 2.0
"""For so long nothing of a series has to come that has images beyond those that are named."""
GAP_S = 5.0
"""The same for one with a gap."""
_GAP = 1.5
"""Of the usual step between two images: more is a gap."""
_SAME = 1e-3
"""Of direction cosines."""


class Orthanc(Protocol):
    def find_stored(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[StoredInstance, ...]]: ...
    def series_key(self, series_id: str) -> SeriesKey: ...
    def series_slices(self, series_id: str) -> list[StoredSlice]: ...
    def frame_of_reference(self, orthanc_id: str) -> str: ...


@dataclass
class Search:
    """Images of one structure set, which may be looked for again and again as they come.

    Attributes
    ----------
    patient_id, study_instance_uid : the structure set's own
    """

    wanted: WantedImages
    patient_id: str
    study_instance_uid: str
    _stored: dict[str, tuple[SeriesKey, ...]] = field(default_factory=dict)
    _examples: dict[SeriesKey, StoredInstance] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: RtstructFacts) -> Search:
        return cls(facts.images, facts.patient_id, facts.study_instance_uid)

    def look(self, orthanc: Orthanc, sop_instance_uids: Iterable[str] | None = None) -> Located:
        """Look anew for all of the images, or only for some: then what was found of the others before is kept."""
        if sop_instance_uids is None:
            self._stored, self._examples = {}, {}
            sop_instance_uids = self.wanted.images
        for uid, instances in orthanc.find_stored(list(sop_instance_uids)).items():
            keys = []
            for instance in instances:
                try:
                    key = orthanc.series_key(instance.series_id)
                except NotFoundError:
                    continue  # deleted since
                keys.append(key)
                self._examples.setdefault(key, instance)
            self._stored[uid] = tuple(keys)
        return locate(self.wanted, self.patient_id, self.study_instance_uid, self._stored)

    def may_be(self, orthanc: Orthanc, instances: Iterable[StoredInstance]) -> bool:
        """Whether any of these can be what is meant."""
        for instance in instances:
            try:
                if may_be(self.wanted, self.patient_id, orthanc.series_key(instance.series_id)):
                    return True
            except NotFoundError:
                continue
        return False

    def chosen(self, orthanc: Orthanc, located: Located) -> StoredInstance:
        """An image of the series that is meant, where no image is missing.

        Raises
        ------
        InputRefusedError
            ``ambiguous_instances`` or ``unsupported_geometry``.
        """
        frames: dict[SeriesKey, str] = {}
        if len(located.candidates) > 1:
            frames = {k: orthanc.frame_of_reference(self._examples[k].orthanc_id) for k in located.candidates}
        return self._examples[decide(self.wanted, located, self._stored, frames)]


@dataclass(frozen=True)
class Extent:
    """What of a series is stored.

    Attributes
    ----------
    count : of its images that lie as those that are named; of all where that is not indexed
    settle_s : how long nothing of it has to come before it is taken for whole
    """

    count: int
    settle_s: float


def extent(orthanc: Orthanc, series_id: str, wanted: WantedImages) -> Extent:
    """Raises `NotFoundError` where it is gone."""
    slices = orthanc.series_slices(series_id)
    named = [s for s in slices if s.sop_instance_uid in wanted.images]
    if not named or not all(s.position_mm and s.orientation for s in named):
        alike, gap = slices, False  # not indexed: the worker reads it
    else:
        axes = named[0].orientation
        alike = [s for s in slices if s.position_mm and s.orientation and _distance(s.orientation, axes) < _SAME]
        gap = _has_gap(alike, axes)
    beyond = any(s.sop_instance_uid not in wanted.images for s in alike)
    return Extent(len(alike), GAP_S if gap else SETTLE_S if beyond else 0.0)


def _has_gap(alike: Sequence[StoredSlice], axes: Sequence[float]) -> bool:
    """Whether images that lie alike have more than one step between two of them."""
    (a, b, c), (d, e, f) = axes[:3], axes[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    places = {round(sum(n * p for n, p in zip(normal, s.position_mm, strict=True)), 1) for s in alike}
    steps = [high - low for low, high in pairwise(sorted(places))]
    return bool(steps) and max(steps) > _GAP * median(steps)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(x - y) for x, y in zip(one, other, strict=True))


def structure_set_fields(facts: RtstructFacts, orthanc: Orthanc | None = None) -> dict[str, Any]:
    """What `NewPlan` has to know of a structure set and its images; the plan waits where ``orthanc`` is not asked.

    Raises
    ------
    InputRefusedError
        Which series is meant cannot be told.
    """
    wanted = facts.images
    fields: dict[str, Any] = {
        "patient_id": facts.patient_id,
        "patient_name": facts.patient_name,
        "study_instance_uid": facts.study_instance_uid,
        "rtstruct_sop_instance_uid": facts.sop_instance_uid,
        "rtstruct_sha256": facts.sha256,
        "frame_of_reference_uid": facts.frame_of_reference_uid,
        "image_uids": tuple(wanted.images),
        "image_study_uid": wanted.study_instance_uid,
        "image_series_uid": wanted.series_instance_uid,
    }
    if orthanc is None:
        return fields
    search = Search.of(facts)
    located = search.look(orthanc)
    if located.missing:
        return fields
    series_id = search.chosen(orthanc, located).series_id
    found = extent(orthanc, series_id, wanted)
    if found.settle_s > 0:
        return fields
    return {**fields, "complete": True, "image_series": series_id, "image_count": found.count}


def not_stored_text(located: Located) -> str:
    """What to say of images that are not where the structure set says; empty where none is stored elsewhere."""
    if not located.elsewhere:
        return ""
    return f"Of the missing images {located.elsewhere_text}: not those that the structure set names."

"""Which protocol an RTSTRUCT is planned with, a plan or dose is checked with, and if none, why; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radiarch_contract.derived import leaves
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.places import Place
from radiarch_contract.protocol import Match, Protocol
from radiarch_contract.structures import (
    Ambiguity,
    Resolution,
    StructureRef,
    StructureSelector,
    ambiguous_structures,
    look_up,
    named_for_another_dose,
)
from radiarch_contract.workflows import get_workflow

from radiarch_plugin.dicom.rtobjects import ObjectFacts
from radiarch_plugin.dicom.rtstruct import RtstructFacts

from .loaded import BrokenProtocol, LoadedProtocol, ProtocolSet

MAX_NAMED = 40
"""ROI names repeated in an error's details."""
MAX_PROBLEMS = 10
"""Mistakes of a file that an error repeats."""

_ASKED = {
    "rtplan": ("plan", "a recalculation with POST /recalculations"),
    "rtdose": ("dose", "an evaluation with POST /evaluations"),
}


@dataclass(frozen=True)
class Refusal:
    """Why one protocol does not fit.

    Attributes
    ----------
    code : no_target where only the target is missing; ambiguous_structure where it fits but for names that several
        ROIs could stand for, invalid_protocol where its file has mistakes: then ``error`` says all, and no other
        protocol is taken instead; else no_protocol
    """

    protocol_id: str
    code: ErrorCode
    reason: str
    error: InputRefusedError | None = None


@dataclass(frozen=True)
class Matched:
    """The protocol that fits, and which ROI each of its names stands for.

    ``missing`` lists names used by objectives or goals for which this structure set has no ROI;
    the protocol says that the plan may be made without them.
    """

    loaded: LoadedProtocol
    structures: tuple[StructureRef, ...]
    missing: tuple[str, ...]
    refusals: tuple[Refusal, ...] = ()
    """Of the protocols that come before it."""

    @property
    def protocol(self) -> Protocol:
        return self.loaded.protocol


@dataclass(frozen=True)
class NotMatched:
    """No protocol is taken; ``error`` says why."""

    error: InputRefusedError
    refusals: tuple[Refusal, ...]


MatchResult = Matched | NotMatched


def match(protocols: ProtocolSet, facts: RtstructFacts, thing: ObjectFacts | None = None) -> MatchResult:
    """The first enabled protocol by priority whose conditions all hold.

    With ``thing``, an arriving plan or dose: among the protocols that check such, by what it says of itself and by
    its structure set; without, among those that plan.

    Conditions are the patterns and AE titles of ``match``, and that the target, ``match.structures`` and
    every selector with ``required`` are found among the ROIs. BODY may be missing: it is found from the CT.

    Where the first protocol that fits names a structure for which there are several ROIs, or has a mistake in its
    file, nothing is taken: another protocol's dose is not what was meant for this patient.
    """
    refusals: list[Refusal] = []
    for item in starting_from("rtstruct" if thing is None else thing.kind, protocols):
        found = _try(item, facts, thing)
        if isinstance(found, Matched):
            return Matched(found.loaded, found.structures, found.missing, tuple(refusals))
        refusals.append(found)
        if found.error is not None:
            return NotMatched(found.error, tuple(refusals))
    return NotMatched(_error(refusals, facts, thing), tuple(refusals))


def starting_from(kind: str, protocols: ProtocolSet) -> list[LoadedProtocol | BrokenProtocol]:
    """Enabled protocols that start when an object of this kind (rtstruct, rtplan, rtdose) arrives, by priority."""
    return [p for p in protocols.tried if _is_enabled(p) and _starts_from(p) == kind]


def _is_enabled(item: LoadedProtocol | BrokenProtocol) -> bool:
    return item.protocol.enabled if isinstance(item, LoadedProtocol) else item.sketch is not None


def _starts_from(item: LoadedProtocol | BrokenProtocol) -> str:
    if isinstance(item, LoadedProtocol):
        return get_workflow(item.protocol.workflow).starts_from
    return item.sketch.starts_from if item.sketch else ""


def try_each(protocols: ProtocolSet, facts: RtstructFacts) -> list[tuple[bool, Matched | Refusal]]:
    """Each protocol that plans, by priority: whether it is enabled, and whether it fits; for people who look."""
    return [(_is_enabled(p), _try(p, facts, None)) for p in protocols.tried if _starts_from(p) == "rtstruct"]


def _try(item: LoadedProtocol | BrokenProtocol, facts: RtstructFacts, thing: ObjectFacts | None) -> Matched | Refusal:
    if isinstance(item, BrokenProtocol):
        return _try_broken(item, facts, thing)
    protocol = item.protocol
    names = protocol.structure_names()
    found = look_up(names, protocol.structures, facts.rois)
    wants = _Wants(
        protocol.id, protocol.match, protocol.structures, tuple(protocol.target_names()), protocol.definitions()
    )
    if refusal := _refusal(wants, found, facts, thing):
        return refusal
    doses_gy = {} if protocol.prescription is None else {t.target: t.dose_gy for t in protocol.prescription.targets}
    if other := named_for_another_dose(doses_gy, found.found, protocol.structures):
        return Refusal(protocol.id, ErrorCode.NO_TARGET, other)
    if ambiguous := [*found.ambiguous, *outline_ambiguity(names, protocol.structures, facts)]:
        error = ambiguous_structures(ambiguous)
        return Refusal(protocol.id, error.code, str(error), error)
    return Matched(item, tuple(found.found.values()), tuple(found.missing))


@dataclass(frozen=True)
class _Wants:
    """What a protocol asks of a structure set."""

    protocol_id: str
    match: Match
    selectors: Mapping[str, StructureSelector]
    targets: tuple[str, ...]
    definitions: Mapping[str, str]

    @property
    def needed(self) -> list[str]:
        """Structures without which it does not fit, besides the targets."""
        required = (n for n, s in self.selectors.items() if s.required)
        return leaves([*self.match.structures, *required], self.definitions)


def _try_broken(item: BrokenProtocol, facts: RtstructFacts, thing: ObjectFacts | None) -> Refusal:
    """Whether a protocol with mistakes in its file would fit so far as it can be read: then nothing else is taken."""
    assert item.sketch is not None, item.file  # others are not tried
    sketch = item.sketch
    wants = _Wants(item.id, sketch.match, sketch.selectors, sketch.targets, sketch.definitions)
    found = look_up([*wants.targets, *wants.needed], sketch.selectors, facts.rois)
    if refusal := _refusal(wants, found, facts, thing):
        return refusal
    what = "structure set" if thing is None else _ASKED[thing.kind][0]
    error = InputRefusedError(
        f"protocol {item.id!r} is for this {what}, as far as it can be read, and has mistakes: "
        f"{'; '.join(map(str, item.problems[:MAX_PROBLEMS]))}",
        remedy="Correct the file and restart Orthanc, then send the object again; or ask for what is wanted by REST.",
        code=ErrorCode.INVALID_PROTOCOL,
        problems=[p.details for p in item.problems[:MAX_PROBLEMS]],
    )
    return Refusal(item.id, error.code, str(error), error)


def _refusal(wants: _Wants, found: Resolution, facts: RtstructFacts, thing: ObjectFacts | None) -> Refusal | None:
    """Why a protocol does not fit: a condition, a structure that is not there, or the target."""
    reason = _conditions(wants.match, facts, thing)
    if reason:
        return Refusal(wants.protocol_id, ErrorCode.NO_PROTOCOL, reason)
    absent = [n for n in wants.needed if n in found.missing and n not in (*wants.targets, "BODY")]
    if absent:
        return Refusal(wants.protocol_id, ErrorCode.NO_PROTOCOL, f"no ROI stands for {', '.join(absent)}")
    for target in wants.targets:
        if target in found.missing and target != "BODY":
            return Refusal(wants.protocol_id, ErrorCode.NO_TARGET, f"no ROI stands for the target {target}")
    return None


def outline_ambiguity(
    names: Sequence[str], selectors: Mapping[str, StructureSelector], facts: RtstructFacts
) -> list[Ambiguity]:
    """The ROIs that could be the patient's outline where there are several: every dose needs it, named or not."""
    return [] if "BODY" in names else look_up(["BODY"], selectors, facts.rois).ambiguous


def _conditions(m: Match, facts: RtstructFacts, thing: ObjectFacts | None) -> str | None:
    """The first condition that does not hold, in words; descriptions are not repeated: they may hold names."""
    arrived = facts if thing is None else thing
    for pattern, value, what in (
        (m.study_description, arrived.study_description, "study description"),
        (m.series_description, arrived.series_description, "series description"),
        (m.structure_set_label, facts.structure_set_label, "structure set label"),
        (m.plan_label, "" if thing is None else thing.label, "plan label"),
        (m.manufacturer, "" if thing is None else thing.manufacturer, "manufacturer"),
    ):
        if pattern is not None and re.search(pattern, value, re.IGNORECASE) is None:
            return f"the {what} does not match {pattern!r}"
    if m.calling_ae and (arrived.calling_ae or "").strip() not in m.calling_ae:
        return f"the calling AE is {arrived.calling_ae or 'unknown'}, expected {' or '.join(m.calling_ae)}"
    return None


def _error(refusals: Sequence[Refusal], facts: RtstructFacts, thing: ObjectFacts | None) -> InputRefusedError:
    roi_names = [r.name for r in facts.rois][:MAX_NAMED]
    details = {
        "protocols": [{"protocol_id": r.protocol_id, "reason": r.reason} for r in refusals],
        "structures": roi_names,
    }
    for refusal in refusals:
        if refusal.code is ErrorCode.NO_TARGET:
            return InputRefusedError(
                f"protocol {refusal.protocol_id} fits, but {refusal.reason} "
                f"(found: {', '.join(roi_names) or 'no ROI at all'})",
                remedy=f"Contour the target or name it as the protocol expects, or ask by hand for {Place.NEW_PLAN}.",
                code=ErrorCode.NO_TARGET,
                **details,
            )
    reasons = "; ".join(f"{r.protocol_id}: {r.reason}" for r in refusals) or "no protocol is enabled"
    what, ask = ("structure set", "a plan with POST /plans") if thing is None else _ASKED[thing.kind]
    return InputRefusedError(
        f"no protocol fits this {what}: {reasons}",
        remedy=f"Add a protocol that fits, or ask for {ask}.",
        code=ErrorCode.NO_PROTOCOL,
        **details,
    )

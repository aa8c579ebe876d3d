"""Which protocol an RTSTRUCT is planned with, a plan or dose is checked with, and if none, why; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radiarch_contract.derived import leaves
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.protocol import Protocol
from radiarch_contract.protocol_file import LoadedProtocol as LoadedProtocol
from radiarch_contract.structures import Ambiguity, StructureRef, StructureSelector, ambiguous_structures, look_up
from radiarch_contract.workflows import get_workflow

from .rtobjects import ObjectFacts
from .rtstruct import RtstructFacts

MAX_NAMED = 40
"""ROI names repeated in an error's details."""


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
        ROIs could stand for: ``error`` then has the whole story, and no other protocol is taken instead; else
        no_protocol
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


def by_priority(protocols: Sequence[LoadedProtocol]) -> list[LoadedProtocol]:
    """In the order in which they are tried: highest priority first, then by id."""
    return sorted(protocols, key=lambda p: (-p.protocol.priority, p.protocol.id))


def match(protocols: Sequence[LoadedProtocol], facts: RtstructFacts, thing: ObjectFacts | None = None) -> MatchResult:
    """The first enabled protocol by priority whose conditions all hold.

    With ``thing``, an arriving plan or dose: among the protocols that check such, by what it says of itself and by
    its structure set; without, among those that plan.

    Conditions are the patterns and AE titles of ``match``, and that the target, ``match.structures`` and
    every selector with ``required`` are found among the ROIs. BODY may be missing: it is found from the CT.

    Where the first protocol that fits names a structure for which there are several ROIs, nothing is taken: another
    protocol's dose is not what was meant for this patient.
    """
    refusals: list[Refusal] = []
    for loaded in starting_from("rtstruct" if thing is None else thing.kind, protocols):
        found = _try(loaded, facts, thing)
        if isinstance(found, Matched):
            return Matched(found.loaded, found.structures, found.missing, tuple(refusals))
        refusals.append(found)
        if found.error is not None:
            return NotMatched(found.error, tuple(refusals))
    return NotMatched(_error(refusals, facts, thing), tuple(refusals))


def starting_from(kind: str, protocols: Sequence[LoadedProtocol]) -> list[LoadedProtocol]:
    """Enabled protocols that start when an object of this kind (rtstruct, rtplan, rtdose) arrives, by priority."""
    return [
        p
        for p in by_priority(protocols)
        if p.protocol.enabled and get_workflow(p.protocol.workflow).starts_from == kind
    ]


def try_each(protocols: Sequence[LoadedProtocol], facts: RtstructFacts) -> list[tuple[bool, Matched | Refusal]]:
    """Each protocol that plans, by priority: whether it is enabled, and whether it fits; for people who look."""
    return [(p.protocol.enabled, _try(p, facts, None)) for p in by_priority(protocols) if p.protocol.plans]


def _try(loaded: LoadedProtocol, facts: RtstructFacts, thing: ObjectFacts | None) -> Matched | Refusal:
    protocol = loaded.protocol
    reason = _conditions(protocol, facts, thing)
    if reason:
        return Refusal(protocol.id, ErrorCode.NO_PROTOCOL, reason)
    names = protocol.structure_names()
    found = look_up(names, protocol.structures, facts.rois)
    missing = found.missing
    targets = protocol.target_names()
    needed = [*protocol.match.structures, *(n for n, s in protocol.structures.items() if s.required)]
    needed = leaves(needed, protocol.definitions())
    absent = [n for n in needed if n in missing and n not in (*targets, "BODY")]
    if absent:
        return Refusal(protocol.id, ErrorCode.NO_PROTOCOL, f"no ROI stands for {', '.join(absent)}")
    for target in targets:
        if target in missing and target != "BODY":
            return Refusal(protocol.id, ErrorCode.NO_TARGET, f"no ROI stands for the target {target}")
    if ambiguous := [*found.ambiguous, *outline_ambiguity(names, protocol.structures, facts)]:
        error = ambiguous_structures(ambiguous)
        return Refusal(protocol.id, error.code, str(error), error)
    return Matched(loaded, tuple(found.found.values()), tuple(missing))


def outline_ambiguity(
    names: Sequence[str], selectors: Mapping[str, StructureSelector], facts: RtstructFacts
) -> list[Ambiguity]:
    """The ROIs that could be the patient's outline where there are several: every dose needs it, named or not."""
    return [] if "BODY" in names else look_up(["BODY"], selectors, facts.rois).ambiguous


def _conditions(protocol: Protocol, facts: RtstructFacts, thing: ObjectFacts | None) -> str | None:
    """The first condition that does not hold, in words; descriptions are not repeated: they may hold names."""
    m = protocol.match
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
                remedy="Contour the target or name it as the protocol expects, or ask for a plan with POST /plans.",
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

"""How many jobs of which priority are given to the queue next: interactive ones first, no batch job left behind.

Jobs that wait in Redis are taken from its front. Interactive ones are put there before the batch ones that wait,
a block at a time; after a block, one batch job has to begin before the next block is put there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radiarch_contract.states import Priority

from radiarch_plugin.store import ActivePlan

BLOCK = 4
"""Interactive jobs that one batch job is overtaken by; as many as there are workers, where these are more."""


@dataclass(frozen=True)
class Room:
    """What may be given now: so many of each; interactive ones before all that waits, or behind it."""

    interactive: int
    batch: int
    at_front: bool


class Turns:
    """Remembers how many interactive jobs have overtaken the batch jobs that wait."""

    def __init__(self) -> None:
        self._overtaken = 0
        self._batch: frozenset[str] = frozenset()

    def room(self, waiting: Sequence[ActivePlan], limit: int, workers: int) -> Room:
        """What may be given.

        Parameters
        ----------
        waiting
            Jobs that are in Redis and that nobody has begun.
        limit
            So many may be there; interactive ones that overtake may be more by a block, and one batch job is always let
            in, so that it gets its turn.
        workers
            How many there are.
        """
        batch = frozenset(p.id for p in waiting if p.priority is Priority.BATCH)
        interactive = len(waiting) - len(batch)
        if not batch or self._batch - batch:  # one has begun, or was cancelled
            self._overtaken = 0
        self._batch = batch
        free = max(limit - len(waiting), 0)
        if not batch:
            return Room(free, free, at_front=False)
        # interactive ones that wait at the front come first: those given now would be put before them
        block = max(BLOCK, workers) - self._overtaken if interactive == 0 else 0
        return Room(max(block, 0), free, at_front=True)

    def given(self, interactive: int) -> None:
        """So many interactive jobs were put before batch jobs that wait."""
        self._overtaken += interactive

"""Large structure sets are read in a thread of their own: what arrives after them does not wait for that."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from radiarch_plugin.store import NewArrival

LARGE_BYTES = 2 << 20
"""Reading so much takes about half a second; 2,000 ROIs with 50,000 contours (28 MB) take some ten."""


@dataclass(eq=False)
class Reading:
    """One structure set that is being read.

    Attributes
    ----------
    seq : of the change in Orthanc's log, which is not done with before this is
    """

    seq: int
    orthanc_id: str
    read: Callable[[], NewArrival]
    _done: threading.Event = field(default_factory=threading.Event)
    _found: NewArrival | None = None
    _error: Exception | None = None

    def run(self) -> None:
        try:
            self._found, self._error = self.read(), None
        except Exception as e:  # raised where it is asked for
            self._error = e
        self._done.set()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def result(self) -> NewArrival:
        """What was read; raises what reading it raised."""
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found


class ReadingThread:
    """Reads one after the other, in the order of the change log. Used by the trigger's thread alone.

    Parameters
    ----------
    done
        Called in the other thread when one has been read.
    """

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done
        self._pending: list[Reading] = []
        self._queue: queue.SimpleQueue[Reading | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, reading: Reading) -> None:
        self._pending.append(reading)
        self._begin(reading)

    def again(self, reading: Reading) -> None:
        """Read one anew whose reading has failed."""
        reading._done.clear()
        self._begin(reading)

    def holds(self, orthanc_id: str) -> bool:
        """Whether an earlier content of an instance is still to be read: the later one comes after it."""
        return any(r.orthanc_id == orthanc_id for r in self._pending)

    def finished(self) -> list[Reading]:
        """Those that have been read, in order; each stays until it is `forget`-ed."""
        return [r for r in self._pending if r.is_done]

    def forget(self, reading: Reading | None = None) -> None:
        """One that was worked off; without argument all of them."""
        self._pending = [] if reading is None else [r for r in self._pending if r is not reading]

    def before(self, cursor: int) -> int:
        """How far the change log is done with, if it has been read up to ``cursor``."""
        return min([cursor, *(r.seq - 1 for r in self._pending)])

    def stop(self, timeout_s: float) -> None:
        """End the thread after what it reads at present."""
        self._pending = []
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout_s)

    def _begin(self, reading: Reading) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="radiarch-reading", daemon=True)
            self._thread.start()
        self._queue.put(reading)

    def _run(self) -> None:
        while (reading := self._queue.get()) is not None:
            if any(r is reading for r in self._pending):
                reading.run()
                self._done()

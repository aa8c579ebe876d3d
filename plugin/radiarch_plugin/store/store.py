"""The store: its parts by name, and the clock that they share."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .arrivals import Arrivals
from .attempts import Attempts
from .changes import Changes
from .database import Database
from .journal import Journal
from .measurements import Measurements
from .names import Names
from .plans import Plans
from .scales import MachineScales
from .studies import Studies


def utc_now() -> datetime:
    return datetime.now(UTC)


def steady_clock(
    wall: Callable[[], datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[], datetime]:
    """A clock that is right now and goes on steadily, also when the wall clock is set; for times to live."""
    began, since = wall(), monotonic()
    return lambda: began + timedelta(seconds=monotonic() - since)


class Store:
    """The plugin's memory; safe in any thread.

    Attributes
    ----------
    plans : making, reading, listing, cancelling
    arrivals : every RTSTRUCT that was seen
    journal : events and logs of plans, single facts
    changes : what happened since, for open pages
    attempts : the reconcile loop's own view
    scales : what checks have told of machines' meterset scales
    measurements : on images, with their versions
    studies : what Orthanc has, for lists and search
    names : patients' names that older versions did not keep
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self.database = database
        self.plans = Plans(database, now)
        self.arrivals = Arrivals(database, now)
        self.journal = Journal(database)
        self.changes = Changes(database)
        self.attempts = Attempts(database, now)
        self.scales = MachineScales(database, now)
        self.measurements = Measurements(database, now)
        self.studies = Studies(database)
        self.names = Names(database)

"""The log of one attempt: bounded, single lines, no patient's name; where it is written is `feed`'s business."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from radiarch_contract.transport import MAX_LOG_LINES

_MAX_LINE_CHARS = 500
"""Of the text; the time is written before it."""
_MAX_UNFINISHED_BYTES = 1 << 16
_RESERVED = 500
"""Lines kept for the job's own words when an engine has filled the rest."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]+")
_REMOVED = "[patient]"


class AttemptLog:
    """Lines of one attempt, kept in memory for as long as it runs."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._raw = b""
        self._private: re.Pattern[str] | None = None
        self._words: set[str] = set()
        self._dropped = 0

    def private(self, words: Iterable[str]) -> None:
        """Words to be taken out of all further lines; too short ones would take out ordinary text."""
        self._words |= {w for w in words if len(w) >= 3}
        if self._words:
            longest_first = sorted(self._words, key=len, reverse=True)
            # as words of their own only: a patient named Dose must not empty the log
            pattern = "|".join(re.escape(w) for w in longest_first)
            self._private = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)

    def add(self, text: str, source: str = "job") -> None:
        """The job's or the worker's own words."""
        for line in text.splitlines() or [""]:
            self._append(f"[{source}] {line}", MAX_LOG_LINES)

    def output(self, chunk: bytes) -> None:
        """What the job's process and its engines wrote on their standard output and error."""
        *lines, self._raw = (self._raw + chunk).split(b"\n")
        for line in lines:
            self._output_line(line)
        if len(self._raw) > _MAX_UNFINISHED_BYTES:  # a progress bar without line ends, or no text at all
            self.flush()

    def flush(self) -> None:
        """The output has ended; an unfinished line is one too."""
        if self._raw:
            self._output_line(self._raw)
            self._raw = b""

    def _output_line(self, line: bytes) -> None:
        # of a line that was written over with carriage returns, the last state
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
        if text.strip():
            self._append(f"[out] {text}", MAX_LOG_LINES - _RESERVED)

    def _append(self, line: str, limit: int) -> None:
        if len(self.lines) >= limit:
            if not self._dropped:
                self.lines.append(f"{_now()} [worker] the log is full: further lines of engines are not kept")
            self._dropped += 1
            return
        if self._private is not None:
            line = self._private.sub(_REMOVED, line)
        line = _CONTROL.sub(" ", line)
        if len(line) > _MAX_LINE_CHARS:
            line = line[:_MAX_LINE_CHARS] + " …"
        self.lines.append(f"{_now()} {line}")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

"""The one error that a user of the scripts meets; said as found, expected, remedy."""

from __future__ import annotations


class ScriptError(Exception):
    """What was found, and what the user can do about it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy

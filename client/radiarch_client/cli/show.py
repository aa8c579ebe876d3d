"""How the command line shows plans, for programs that want to look like it: tables and DVHs for rich's console."""

from ._plot import in_terminal as dvh_in_terminal
from ._plot import to_png as dvh_to_png
from ._tables import doing, duration, facts, goals, metrics

__all__ = ["doing", "duration", "dvh_in_terminal", "dvh_to_png", "facts", "goals", "metrics"]

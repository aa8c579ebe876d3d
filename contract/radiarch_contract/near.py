"""Names that may be meant by one that is not known: the one way of suggesting them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_NEAR = 3
LIKE = 0.7
"""How much a name is like another one for which it may be meant, from 0 to 1."""


def nearest(name: str, known: Iterable[str], *, count: int = MAX_NEAR) -> tuple[str, ...]:
    """Known names that are written much like a name, the nearest first; case, blanks, - and _ count little.

    Examples
    --------
    >>> nearest("proton impt-basc", ["proton-impt-basic", "proton-robust"])
    ('proton-impt-basic',)
    >>> nearest("seed", ["let", "machine"])
    ()
    """
    forms: dict[str, list[str]] = {}
    for each in known:
        forms.setdefault(_plain(each), []).append(each)
    found = get_close_matches(_plain(name[:200]), list(forms), n=count, cutoff=LIKE)
    return tuple(n for form in found for n in forms[form])[:count]


def did_you_mean(names: Iterable[str]) -> str:
    """The question at the end of a message; nothing where there are no names.

    Examples
    --------
    >>> did_you_mean(["PTV", "CTV"]), did_you_mean([])
    ("; did you mean 'PTV' or 'CTV'?", '')
    """
    quoted = " or ".join(map(repr, names))
    return f"; did you mean {quoted}?" if quoted else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Both in one."""
    return did_you_mean(nearest(name, known))


def _plain(name: str) -> str:
    return name.casefold().translate({ord(c): "-" for c in " _-."})

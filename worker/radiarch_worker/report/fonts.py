"""Fonts of reports and pictures: which one has a character, and text as runs that each one font prints.

Noto Sans and FiraGO come with the package ``pymupdf-fonts`` (SIL OFL), DejaVu Sans with matplotlib, Droid Sans Fallback
(Chinese, Japanese, Korean) with Debian's ``fonts-droid-fallback``. What no font has is printed as its code point, and
told: never as an empty box.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

_CJK_FILES = (
    Path("/usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf"),
    Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf"),
)
_SHAPED_SCRIPTS = (
    # scripts whose letters join, move or run from right to left: the first and last code point of their blocks
    (0x0590, 0x08FF),  # Hebrew, Arabic, Syriac, Thaana, NKo
    (0x0900, 0x0DFF),  # Indic
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0xFB1D, 0xFDFF),
    (0xFE70, 0xFEFC),
)


@dataclass(frozen=True)
class Face:
    """A font file.

    Attributes
    ----------
    name : how it is registered with the PDF library
    data : the TrueType file
    has : code points that it has a glyph for
    """

    name: str
    data: bytes = field(repr=False)
    has: frozenset[int] = field(repr=False)


@dataclass(frozen=True)
class Run:
    """Text that one face prints, in logical order.

    Attributes
    ----------
    shaped : it needs a shaping engine
    rightwards : False where it is read from right to left
    """

    face: Face
    text: str
    shaped: bool
    rightwards: bool


def _packaged(code: str) -> bytes | None:
    import pymupdf_fonts

    return bytes(pymupdf_fonts.myfont(code))


def _of_matplotlib(name: str) -> bytes | None:
    spec = find_spec("matplotlib")  # without importing it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "mpl-data", "fonts", "ttf", name)
        if path.is_file():
            return path.read_bytes()
    return None


def _of_debian() -> bytes | None:
    return next((path.read_bytes() for path in _CJK_FILES if path.is_file()), None)


_SOURCES: Mapping[str, Callable[[], bytes | None]] = {
    "NotoSans": lambda: _packaged("notos"),
    "NotoSans-Bold": lambda: _packaged("notosbo"),
    "FiraGO": lambda: _packaged("figo"),
    "FiraGO-Bold": lambda: _packaged("figbo"),
    "DejaVuSans": lambda: _of_matplotlib("DejaVuSans.ttf"),
    "DejaVuSans-Bold": lambda: _of_matplotlib("DejaVuSans-Bold.ttf"),
    "DroidSansFallback": _of_debian,
}
_REGULAR = ("NotoSans", "FiraGO", "DejaVuSans", "DroidSansFallback")
_BOLD = ("NotoSans-Bold", "FiraGO-Bold", "DejaVuSans-Bold", "DroidSansFallback")


@cache
def face(name: str) -> Face | None:
    """A face by name, or None where it is not on this machine; read when it is first needed."""
    data = _SOURCES[name]()
    if data is None:
        return None
    from fontTools.ttLib import TTFont

    with TTFont(BytesIO(data), lazy=True) as font:
        return Face(name, data, frozenset(font.getBestCmap()))


@cache
def _face_of(character: str, bold: bool) -> Face | None:
    code = ord(character)
    for name in _BOLD if bold else _REGULAR:
        candidate = face(name)
        if candidate is not None and code in candidate.has:
            return candidate
    return None


def first_face(bold: bool = False) -> Face:
    """The face of ordinary text."""
    found = face((_BOLD if bold else _REGULAR)[0])
    assert found is not None  # it comes with a package that is required
    return found


def missing(text: str, *, bold: bool = False) -> tuple[str, ...]:
    """Printable characters of a text that no font here has."""
    return tuple(dict.fromkeys(c for c in clean(text) if not c.isspace() and _face_of(c, bold) is None))


def clean(text: str) -> str:
    """Text without what drives a terminal or a reader's direction; all white space is a space."""
    composed = unicodedata.normalize("NFC", text)
    kept = (" " if c.isspace() else c for c in composed)
    return "".join(c for c in kept if unicodedata.category(c)[0] != "C" or c in "\u200c\u200d")


def printable(text: str, *, bold: bool = False) -> str:
    """`clean` text in which each character that no font has is its code point, such as ``[U+12345]``.

    Examples
    --------
    >>> printable("a\\u0007 \\u03b2")
    'a β'
    """
    joiners = "\u200c\u200d"
    return "".join(
        c if c.isspace() or c in joiners or _face_of(c, bold) is not None else f"[U+{ord(c):04X}]" for c in clean(text)
    )


def _is_shaped(character: str) -> bool:
    code = ord(character)
    return any(first <= code <= last for first, last in _SHAPED_SCRIPTS)


def _direction(character: str) -> bool | None:
    """True: left to right; False: right to left; None: as its neighbours."""
    kind = unicodedata.bidirectional(character)
    if kind in ("R", "AL"):
        return False
    return True if kind in ("L", "EN", "AN") else None


@lru_cache(maxsize=4096)
def runs(text: str, *, bold: bool = False) -> tuple[Run, ...]:
    """A line as runs in the order in which they are seen, from the left.

    The paragraph's direction is that of its first strong character; neutral characters (spaces, punctuation) take the
    direction of both neighbours where these agree, else the paragraph's. That is Unicode's algorithm (UAX 9) without
    embeddings, which names do not have.
    """
    line = printable(text, bold=bold)
    directions = [_direction(c) for c in line]
    base = next((d for d, c in zip(directions, line, strict=True) if d is not None and not c.isdigit()), True)
    resolved = list(_resolve(directions, base))
    found: list[Run] = []
    for character, rightwards in zip(line, resolved, strict=True):
        shaped = _is_shaped(character)
        chosen = _face_of(character, bold) or (found[-1].face if found else first_face(bold))
        last = found[-1] if found else None
        if last is not None and last.rightwards == rightwards:
            joins = character.isspace() or character in "\u200c\u200d"
            if joins and ord(character) in last.face.has | {0x200C, 0x200D}:
                found[-1] = Run(last.face, last.text + character, last.shaped, rightwards)
                continue
            if last.face is chosen and last.shaped == shaped:
                found[-1] = Run(chosen, last.text + character, shaped, rightwards)
                continue
        found.append(Run(chosen, character, shaped or not rightwards, rightwards))
    return tuple(_in_sight(found, base))


def _resolve(directions: list[bool | None], base: bool) -> Iterator[bool]:
    before = base
    for i, direction in enumerate(directions):
        if direction is not None:
            before = direction
            yield direction
            continue
        after = next((d for d in directions[i:] if d is not None), base)
        yield before if before == after else base


def _in_sight(found: list[Run], base: bool) -> list[Run]:
    """Runs from the left: those against the paragraph's direction keep their own order among themselves."""
    groups: list[list[Run]] = []
    for run in found:
        if groups and groups[-1][0].rightwards == run.rightwards:
            groups[-1].append(run)
        else:
            groups.append([run])
    seen: list[Run] = []
    for group in groups if base else reversed(groups):
        seen += group if group[0].rightwards else reversed(group)
    return seen

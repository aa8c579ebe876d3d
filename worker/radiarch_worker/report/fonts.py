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

from bidi import get_display

_CJK_FILES = (
    Path("/usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf"),
    Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf"),
)
_JOINERS = "\u200c\u200d"
_SHAPED_SCRIPTS = (
    # scripts whose letters join, move or run from right to left: the first and last code point of their blocks
    (0x0590, 0x08FF),  # Hebrew, Arabic, Syriac, Thaana, NKo
    (0x0900, 0x0DFF),  # Indic
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0xFB1D, 0xFDFF),
    (0xFE70, 0xFEFC),
    (0x10000, 0x10FFFF),  # beyond what the PDF library numbers
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
    return tuple(
        dict.fromkeys(c for c in clean(text) if not c.isspace() and c not in _JOINERS and _face_of(c, bold) is None)
    )


def clean(text: str) -> str:
    """Text without what drives a terminal or a reader's direction; all white space is a space."""
    composed = unicodedata.normalize("NFC", text)
    kept = (" " if c.isspace() else c for c in composed)
    return "".join(c for c in kept if unicodedata.category(c)[0] != "C" or c in _JOINERS)


def printable(text: str, *, bold: bool = False) -> str:
    """`clean` text in which each character that no font has is its code point, such as ``[U+12345]``.

    Examples
    --------
    >>> printable("a\\u0007 \\u03b2")
    'a β'
    """
    return "".join(
        c if c.isspace() or c in _JOINERS or _face_of(c, bold) is not None else f"[U+{ord(c):04X}]" for c in clean(text)
    )


def _is_shaped(character: str) -> bool:
    code = ord(character)
    return any(first <= code <= last for first, last in _SHAPED_SCRIPTS)


@lru_cache(maxsize=4096)
def runs(text: str, *, bold: bool = False) -> tuple[Run, ...]:
    """A line as runs in the order in which they are seen, from the left (UAX 9; the first letter decides)."""
    line = printable(text, bold=bold)
    if any(_is_leftwards(c) for c in line):
        line = str(get_display(line))
    found: list[Run] = []
    for part, rightwards in _parts(line):
        found += _by_face(part, rightwards, bold)
    return tuple(found)


def _is_leftwards(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL")


def _parts(line: str) -> Iterator[tuple[str, bool]]:
    """Parts of a line in order of sight: those from right to left are given back their logical order."""
    at = 0
    while at < len(line):
        leftwards = _is_leftwards(line[at])
        end = last = at + 1
        while end < len(line):
            kind = unicodedata.bidirectional(line[end])
            if leftwards and kind in ("L", "EN", "AN"):
                break
            if not leftwards and kind in ("R", "AL"):
                break
            if kind in ("R", "AL", "NSM") or not leftwards:
                last = end + 1
            end += 1
        # spaces and signs behind the last letter from right to left are as they are seen
        part, at = line[at:last], last
        yield (part[::-1], False) if leftwards else (_mirrored(part), True)


def _mirrored(part: str) -> str:
    """Brackets as they are seen: those that belong to text from right to left come closing bracket first."""
    brackets = [c for c in part if c in "()[]{}"]
    if not brackets or brackets[0] in "([{":
        return part
    return part.translate(str.maketrans("()[]{}", ")(][}{"))


def _by_face(text: str, rightwards: bool, bold: bool) -> list[Run]:
    found: list[Run] = []
    for character in text:
        last = found[-1] if found else None
        face_ = _face_of(character, bold) or (last.face if last else first_face(bold))
        if last is not None and (character in _JOINERS or (character.isspace() and ord(character) in last.face.has)):
            found[-1] = Run(last.face, last.text + character, last.shaped, rightwards)
            continue
        shaped = not rightwards or _is_shaped(character)
        if last is not None and last.face is face_ and last.shaped == shaped:
            found[-1] = Run(face_, last.text + character, shaped, rightwards)
        else:
            found.append(Run(face_, character, shaped, rightwards))
    # of several runs from right to left the first is the rightmost
    return found if rightwards else found[::-1]

"""Derived structures: the written grammar by which one is made of others; voxels are the worker's business.

``A minus B`` (also ``A cut by B``), ``A and B``, ``A or B``, ``A grown 5 mm``, ``A shrunk 3 mm``, with other margins in
some directions of the patient: ``A grown 5 mm except posterior 3 mm, left 4 mm``. Margins bind first; different words
between structures need parentheses, so that nobody has to know which binds first. Names with blanks, or that are words
of the grammar, stand in quotes.

>>> parse('"Outer Target" minus (Core grown 3 mm)').names
('Outer Target', 'Core')
>>> parse("PTV grown 5 mm except posterior 3 mm").margins_mm
(5.0, 5.0, 5.0, 3.0, 5.0, 5.0)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .errors import InvalidRequestError, RadiarchError

DIRECTIONS = ("left", "right", "anterior", "posterior", "superior", "inferior")
"""Of the patient; margins are given in this order."""
MAX_TEXT = 300
MAX_MARGIN_MM = 100.0
MAX_DEFINITIONS = 40
_MAX_DEPTH = 30

_WORDS = ("minus", "cut", "by", "and", "or", "grown", "shrunk", "except", "mm")
_TOKEN = re.compile(
    r"""\s*(?: (?P<quoted>"[^"]*"|'[^']*') | (?P<number>[0-9]+(?:\.[0-9]+)?)(?=[\s(),"']|$)
    | (?P<paren>[()]) | (?P<comma>,) | (?P<word>[^\s(),"']+) )""",
    re.VERBOSE,
)

Margins = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Named:
    """A structure by its name."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True)
class Combined:
    """Voxels of ``left`` that are (and), or need not be (or), or are not (minus) in ``right``."""

    word: Literal["and", "or", "minus"]
    left: Expression
    right: Expression

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.left.names, *self.right.names)))


@dataclass(frozen=True)
class WithMargin:
    """A structure whose surface is moved out (grown) or in (shrunk).

    Attributes
    ----------
    margins_mm : in the order of `DIRECTIONS`; between two directions the surface follows an ellipsoid
    """

    of: Expression
    grown: bool
    margins_mm: Margins

    @property
    def names(self) -> tuple[str, ...]:
        return self.of.names


Expression = Named | Combined | WithMargin


def parse(text: str) -> Expression:
    """Parse a definition.

    Raises
    ------
    InvalidRequestError
        Naming the character at which the text stops making sense.
    """
    if len(text) > MAX_TEXT:
        raise InvalidRequestError(
            f"a derived structure's definition has {len(text)} characters, at most {MAX_TEXT} are read",
            remedy="Define parts of it as structures of their own.",
            position=MAX_TEXT,
        )
    return _Parser(text).parse()


def leaves(names: Sequence[str], definitions: Mapping[str, str]) -> list[str]:
    """The structures that have to be found for some names: those of definitions are replaced by what they are made of.

    Raises
    ------
    InvalidRequestError
        Where a definition cannot be read, or is made of itself.
    """
    return [name for name in _visited(names, definitions) if name not in definitions]


def in_order(definitions: Mapping[str, str]) -> list[str]:
    """Names of definitions, each after those it is made of. Raises like `leaves`."""
    return [name for name in _visited(list(definitions), definitions) if name in definitions]


def _visited(names: Sequence[str], definitions: Mapping[str, str]) -> list[str]:
    """Names and all that they are made of, each once, parts first."""
    done: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise InvalidRequestError(
                f"derived structure {name!r} is made of itself: {' → '.join((*above, name))}",
                remedy="Give the derived structure a name that its definition does not use.",
            )
        if name in done:
            return
        if name in definitions:
            for part in parse(definitions[name]).names:
                visit(part, (*above, name))
        done[name] = None

    for name in names:
        visit(name, ())
    return list(done)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


class _Parser:
    """Recursive descent over one definition."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._at = 0

    def _split(self) -> Iterator[_Token]:
        position = 0
        end = len(self._text.rstrip())
        while position < end:
            m = _TOKEN.match(self._text, position)
            if m is None:
                while self._text[position].isspace():
                    position += 1
                raise self._error(position, "the quote's other end" if self._text[position] in "\"'" else "a name")
            kind = str(m.lastgroup)
            yield from _token(kind, m[kind], m.start(kind))
            position = m.end()

    def parse(self) -> Expression:
        found = self._chain(0)
        if (left := self._peek()) is not None:
            expected = "the end, or 'and', 'or', 'minus', 'grown', 'shrunk' before it (names with blanks in quotes)"
            raise self._error(left.position, expected)
        return found

    def _chain(self, depth: int) -> Expression:
        found = self._with_margins(depth)
        first: str | None = None
        while (token := self._peek()) is not None and token.kind == "word":
            word = token.text.lower()
            if word not in ("and", "or", "minus", "cut"):
                break
            self._at += 1
            if word == "cut":
                self._word("by", "'by' after 'cut', as in 'PTV cut by Rectum'")
                word = "minus"
            if first is not None and word != first:
                raise self._error(token.position, f"parentheses: '{first}' and '{word}' are mixed")
            first = word
            found = Combined(word, found, self._with_margins(depth))  # type: ignore[arg-type]
        return found

    def _with_margins(self, depth: int) -> Expression:
        found = self._operand(depth)
        while (
            (token := self._peek()) is not None and token.kind == "word" and token.text.lower() in ("grown", "shrunk")
        ):
            self._at += 1
            margins = dict.fromkeys(DIRECTIONS, self._millimetres())
            if self._is_word("except"):
                self._at += 1
                given: set[str] = set()
                while True:
                    direction = self._direction(given)
                    given.add(direction)
                    margins[direction] = self._millimetres()
                    comma = self._peek()
                    if comma is None or comma.kind != "comma":
                        break
                    self._at += 1
            left, right, anterior, posterior, superior, inferior = (margins[d] for d in DIRECTIONS)
            moved = (left, right, anterior, posterior, superior, inferior)
            found = WithMargin(found, token.text.lower() == "grown", moved)
        return found

    def _operand(self, depth: int) -> Expression:
        token = self._peek()
        if token is None:
            raise self._error(len(self._text), "a structure's name or '('")
        if token.text == "(" and token.kind == "paren":
            if depth >= _MAX_DEPTH:
                raise self._error(token.position, f"at most {_MAX_DEPTH} parentheses within each other")
            self._at += 1
            found = self._chain(depth + 1)
            closing = self._peek()
            if closing is None or closing.text != ")":
                raise self._error(self._position(), "')'")
            self._at += 1
            return found
        if token.kind == "quoted":
            name = token.text[1:-1].strip()
            if not name:
                raise self._error(token.position + 1, "a structure's name between the quotes")
        elif token.kind in ("word", "number") and token.text.lower() not in _WORDS:
            name = token.text
        else:
            raise self._error(token.position, "a structure's name or '('")
        self._at += 1
        return Named(name)

    def _millimetres(self) -> float:
        token = self._peek()
        if token is None or token.kind != "number":
            raise self._error(self._position(), "a number of millimetres, as in '5 mm'")
        self._at += 1
        self._word("mm", "'mm'")
        value = float(token.text)
        if value > MAX_MARGIN_MM:
            raise self._error(token.position, f"at most {MAX_MARGIN_MM:g} mm")
        return value

    def _direction(self, given: set[str]) -> str:
        token = self._peek()
        direction = token.text.lower() if token is not None else ""
        if token is None or direction not in DIRECTIONS:
            raise self._error(self._position(), f"a direction: {', '.join(DIRECTIONS)}")
        if direction in given:
            raise self._error(token.position, f"each direction once: {direction} is there already")
        self._at += 1
        return direction

    def _word(self, word: str, expected: str) -> None:
        if not self._is_word(word):
            raise self._error(self._position(), expected)
        self._at += 1

    def _is_word(self, word: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == "word" and token.text.lower() == word

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _position(self) -> int:
        token = self._peek()
        return len(self._text.rstrip()) if token is None else token.position

    def _error(self, position: int, expected: str) -> InvalidRequestError:
        found = repr(self._text[position]) if position < len(self._text) else "the end"
        return InvalidRequestError(
            f"derived structure {self._text!r}: character {position + 1} is {found}, expected {expected}",
            remedy="Write definitions like 'PTV minus Rectum', 'A and B', 'PTV grown 5 mm except posterior 3 mm' or "
            "'BODY minus (PTV grown 20 mm)'.",
            position=position,
        )


def _token(kind: str, text: str, position: int) -> Iterator[_Token]:
    """A token; ``5mm`` is two."""
    if kind == "word" and (m := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(mm)", text, re.IGNORECASE)):
        yield _Token("number", m[1], position)
        yield _Token("word", m[2], position + m.end(1))
    else:
        yield _Token(kind, text, position)


def _definition(text: str) -> str:
    try:
        parse(text)
    except RadiarchError as e:
        raise ValueError(str(e)) from None
    return text


def _definitions(definitions: dict[str, str]) -> dict[str, str]:
    try:
        leaves(list(definitions), definitions)
    except RadiarchError as e:
        raise ValueError(str(e)) from None
    return definitions


DefinitionText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_definition)]
StructureName = Annotated[str, Field(min_length=1, max_length=64)]
Definitions = Annotated[
    dict[StructureName, DefinitionText], Field(max_length=MAX_DEFINITIONS), AfterValidator(_definitions)
]

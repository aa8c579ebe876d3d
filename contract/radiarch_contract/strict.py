"""The bases of what people and other programs give us: numbers are numbers, texts are text; which fields, elsewhere.

JSON and YAML make it easy to write ``true`` or ``"60"`` where a number is meant, and pydantic by itself reads them as
1 and 60: a plan of 60 Gy in one fraction. Here a whole number is given for an ``int``, a finite number for a
``float`` (a whole one will do), ``true`` or ``false`` for a ``bool``, and text for a ``str``; nothing is converted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

STORED: Mapping[str, bool] = {"stored": True}
"""Context of validation for what was accepted before and is kept: its texts are taken as they are."""

MAX_TEXT = 1_000
"""Characters of a text whose field says nothing else."""

_SCALARS = ("int", "float", "bool", "str")
_LINES = "radiarch-lines"
_BAD_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, line and paragraph separators


class Lines:
    """Marks a text of several lines, such as a description: ``Annotated[str, Lines()]``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        found: CoreSchema = {**schema, "metadata": {**schema.get("metadata", {}), _LINES: True}}
        return found


def _strict(node: Any, *, texts: bool) -> Any:
    """A core schema with every scalar in it strict."""
    if isinstance(node, list | tuple):
        return type(node)(_strict(item, texts=texts) for item in node)
    if not isinstance(node, dict):
        return node
    inner = {
        k: v if k in ("metadata", "default", "serialization") else _strict(v, texts=texts) for k, v in node.items()
    }
    if inner.get("type") not in _SCALARS:
        return inner
    inner["strict"] = True
    if not texts or inner["type"] != "str":
        return inner
    check = _check_lines if inner.get("metadata", {}).get(_LINES) else _check_line
    return core_schema.with_info_after_validator_function(check, inner)


def _check_line(text: str, info: ValidationInfo) -> str:
    return text if _is_stored(info) else _printable(text, allowed="")


def _check_lines(text: str, info: ValidationInfo) -> str:
    return text if _is_stored(info) else _printable(text, allowed="\n\r\t")


def _is_stored(info: ValidationInfo) -> bool:
    return isinstance(info.context, Mapping) and bool(info.context.get("stored"))


def _printable(text: str, *, allowed: str) -> str:
    for i, c in enumerate(text):
        if unicodedata.category(c) in _BAD_CATEGORIES and c not in allowed:
            raise ValueError(f"character {i + 1} is the control character U+{ord(c):04X}, expected text")
    return text


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    wrong = next(_not_plain(value, ()), None)  # one is enough: how many there are is in other people's hands
    if wrong is not None:
        raise ValidationError.from_exception_data("object", [wrong])
    return value


def _not_plain(value: Any, where: tuple[str | int, ...]) -> Iterator[InitErrorDetails]:
    """Each text within a value that cannot be written again, with its place."""
    if isinstance(value, str):
        try:
            _printable(value, allowed="\n\r\t")
        except ValueError as e:
            yield InitErrorDetails(
                type=PydanticCustomError("unprintable", "{e}", {"e": str(e)}), loc=where, input=value
            )
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _not_plain(name, where)
            yield from _not_plain(item, (*where, name))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _not_plain(item, (*where, i))


PlainObject = Annotated[dict[str, Any], AfterValidator(_plain)]
"""Names and values of any kind, which another model checks later; no text in them that cannot be written again."""


class Strict(BaseModel):
    """A model that converts no type; frozen, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    plain_texts: ClassVar[bool] = False

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = _strict(handler(source), texts=cls.plain_texts)
        return schema


class Asked(Strict):
    """What people write, in a request or in a file: its texts are bounded, and have no control characters."""

    model_config = ConfigDict(str_max_length=MAX_TEXT)
    plain_texts: ClassVar[bool] = True

"""Pydantic's findings in plain words: which field is wrong, and which field may be meant by one that does not exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from .near import suggestion


def findings(errors: Sequence[Mapping[str, Any]], model: Any = None) -> list[dict[str, str]]:
    """Field and message of each error.

    Parameters
    ----------
    errors
        As `pydantic.ValidationError.errors` gives them; values and context are left out, they may hold patient data.
    model
        What was validated: a model or an annotation, where names of fields are to be suggested.
    """
    return [{"field": ".".join(map(str, e["loc"])), "message": message(e, model)} for e in errors]


def message(error: Mapping[str, Any], model: Any = None) -> str:
    """That of one error."""
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    *where, name = error["loc"]
    return f"there is no such field{suggestion(str(name), _fields(model, where))}"


def _fields(model: Any, where: Sequence[str | int]) -> list[str]:
    """Names of the fields at a place within a model."""
    models = list(_models(model))
    for part in where:  # numbers of items, keys and names of a union's members lead to the same models
        found = [m for each in models if part in each.model_fields for m in _models(each.model_fields[part].annotation)]
        models = found or models
    return [field.alias or name for each in models for name, field in each.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from _models(part)

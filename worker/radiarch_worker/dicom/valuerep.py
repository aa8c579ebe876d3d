"""Values as DICOM can hold them: decimal strings, bounded text; attributes live in the IODs' folders."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

from pydicom.valuerep import DSfloat, format_number_as_ds

_DS_MAX_CHARS = 16


def decimal_string(value: float) -> DSfloat:
    """A DS value: what is in memory is what will be read back from the 16 characters written.

    Parameters
    ----------
    value
        A finite number.

    Returns
    -------
    DSfloat
        Equal to ``float(str(result))``.

    Examples
    --------
    >>> str(decimal_string(1 / 3))
    '0.33333333333333'
    >>> float(decimal_string(76.0))
    76.0
    """
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{value} has no decimal string")
    if value == int(value) and abs(value) < 1e15:
        return DSfloat(str(int(value)))
    return DSfloat(format_number_as_ds(value))


def decimal_strings(values: Iterable[float]) -> list[DSfloat]:
    """`decimal_string` of each value."""
    return [decimal_string(v) for v in values]


def decimal_string_at_least(value: float) -> DSfloat:
    """The shortest-exponent DS with ten digits that is not below ``value`` (a positive number).

    Examples
    --------
    >>> str(decimal_string_at_least(76 / 2147483647))
    '3.539025786e-8'
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{value} is not a positive finite number")
    exact = Decimal(value)
    exponent = exact.adjusted()
    mantissa = exact.scaleb(-exponent).quantize(Decimal("1e-9"), rounding=ROUND_CEILING)
    text = f"{mantissa}e{exponent}"
    if len(text) > _DS_MAX_CHARS or float(text) < value:
        raise ValueError(f"{value} does not fit a decimal string")
    return DSfloat(text)


def text(value: str, max_chars: int) -> str:
    """Text without control characters and backslashes (DICOM's value separator), cut to ``max_chars``.

    Examples
    --------
    >>> text("a\\\\b\\x00c", 16)
    'a/bc'
    """
    clean = "".join(c for c in value.replace("\\", "/") if c.isprintable() or c in "\n\t")
    return clean[:max_chars].strip()

"""Reading attributes of hostile data sets: each absence or nonsense is an error that names the element and its tag."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from radiarch_contract.errors import ErrorCode, InputRefusedError

# pydicom's warnings repeat the values it dislikes; a patient's name must not reach the log that way.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE

MAX_TEXT = 1_024


def tag_name(keyword: str) -> str:
    """``(0028,0030) Pixel Spacing``."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"({tag.group:04X},{tag.element:04X}) {dictionary_description(tag)}"


@dataclass(frozen=True)
class Reader:
    """Typed access to one data set.

    Attributes
    ----------
    what : how messages call the data set, such as ``CT image 1.2.3``
    code : of the errors
    """

    dataset: Dataset
    what: str
    code: ErrorCode

    def error(self, keyword: str, problem: str) -> InputRefusedError:
        """What is wrong with one attribute; ``problem`` never has a value of a patient attribute."""
        name = tag_name(keyword)
        return InputRefusedError(
            f"{self.what}: {name} {problem}",
            code=self.code,
            remedy=f"Export the object again with a valid {name}.",
            attribute=keyword,
            tag=name.split(" ")[0],
        )

    def value(self, keyword: str) -> Any:
        """The value, or None where it is absent or empty."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = self.dataset.get(keyword)
        # A broken element can raise nearly anything from pydicom.
        except Exception as e:
            raise self.error(keyword, f"cannot be read ({type(e).__name__})") from e
        return None if value is None or value == "" or value == b"" else value

    def text(self, keyword: str) -> str:
        """The value as text, empty where absent."""
        value = self.value(keyword)
        if value is None:
            return ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # characters that the declared set does not have
                return str(value).strip(" \0")[:MAX_TEXT]
        except Exception as e:
            raise self.error(keyword, f"cannot be read ({type(e).__name__})") from e

    def uid(self, keyword: str) -> str:
        """A UID that has to be there."""
        text = self.text(keyword)
        if not text:
            raise self.error(keyword, "is missing")
        if len(text) > 64 or not set(text) <= set("0123456789."):
            raise self.error(keyword, "is no UID")
        return text

    def floats(self, keyword: str, count: int) -> tuple[float, ...]:
        """``count`` finite numbers that have to be there."""
        value = self.value(keyword)
        if value is None:
            raise self.error(keyword, "is missing")
        items = list(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
        if len(items) != count:
            raise self.error(keyword, f"has {len(items)} values, expected {count}")
        try:
            numbers = tuple(float(v) for v in items)
        except (TypeError, ValueError) as e:
            raise self.error(keyword, "is not a number") from e
        if not all(math.isfinite(v) for v in numbers):
            raise self.error(keyword, "is not finite")
        return numbers

    def integer(self, keyword: str, low: int, high: int) -> int:
        """A whole number between ``low`` and ``high`` that has to be there."""
        (number,) = self.floats(keyword, 1)
        if number != int(number) or not low <= number <= high:
            raise self.error(keyword, f"is {number:g}, expected a whole number from {low} to {high}")
        return int(number)

    def items(self, keyword: str) -> list[Dataset]:
        """The items of a sequence; none where it is absent."""
        value = self.value(keyword)
        if value is None:
            return []
        if not isinstance(value, Sequence) or not all(isinstance(v, Dataset) for v in value):
            raise self.error(keyword, "is no sequence")
        return list(value)

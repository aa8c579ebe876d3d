"""What every YAML file of a site's machines and calibrations has, and what is said of one that cannot be used."""

from __future__ import annotations

from datetime import date
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from radiarch_contract.yaml_file import FieldPath, Problem

from .calibration import Confirmation


class UnusableFileError(Exception):
    """A file that cannot be used, with every mistake that was found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


class SiteFile(BaseModel):
    """Data that the site may have confirmed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confirmed_by: str | None = Field(default=None, min_length=1, max_length=100)
    confirmed_on: date | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.confirmed_by is None) != (self.confirmed_on is None):
            raise ValueError("confirmed_by and confirmed_on belong together")
        return self

    @property
    def confirmation(self) -> Confirmation | None:
        if self.confirmed_by is None or self.confirmed_on is None:
            return None
        return Confirmation(self.confirmed_by, self.confirmed_on)


def finding(item: Any) -> tuple[FieldPath, str]:
    """Field and message of one of pydantic's findings."""
    return tuple(item["loc"]), item["msg"].removeprefix("Value error, ")


def is_photon_machine(data: bytes) -> bool:
    """Whether a machine file is of a linac, however much else is wrong with it."""
    return any(line.split(b"#")[0].split() == [b"modality:", b"photon"] for line in data.splitlines())

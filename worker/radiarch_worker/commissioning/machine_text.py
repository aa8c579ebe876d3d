"""Writes a fitted machine as the YAML file that a site keeps."""

from __future__ import annotations

from datetime import date
from typing import Any

import yaml

from radiarch_worker.machines.photon_machine import PhotonMachine

from .linac import Fit


def machine_text(name: str, base: PhotonMachine, fit: Fit) -> str:
    """A machine file: the fitted beam, and leaves, jaws and limits of the machine that the fit began with."""
    values: dict[str, Any] = base.file.model_dump(
        mode="json", exclude={"generic", "confirmed_by", "confirmed_on"}, exclude_none=True
    )
    values["title"] = f"{name}, {fit.energy.nominal_mv:g} MV, fitted to measurements"
    values["energies"] = [fit.energy.model_dump(mode="json")]
    head = [
        f"Fitted by 'radiarch machine fit' on {date.today().isoformat()}. Leaves, jaws, gantry and calibration are",
        f"those of {base.name}: replace them by this machine's. Add confirmed_by and confirmed_on at commissioning.",
        *(f"{c.title}: at most {c.worst:.2f} %" for c in fit.comparisons),
        *fit.notes,
    ]
    body = yaml.dump(_short(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)
    return "".join(f"# {line}\n" for line in head) + body


class _Flow(list[Any]):
    """A list that is written in one line."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Flow, lambda dumper, values: dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)
)


def _short(value: Any) -> Any:
    """Lists of numbers in one line, as a reader expects them."""
    if isinstance(value, dict):
        return {key: _short(v) for key, v in value.items()}
    if isinstance(value, list):
        items = [_short(v) for v in value]
        return _Flow(items) if all(not isinstance(v, dict | list) or isinstance(v, _Flow) for v in items) else items
    return value

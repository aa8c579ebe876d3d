"""From options and files to what is asked for; asking is the commands' business."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import yaml
from radiarch_contract import plain_yaml

_FILE_LIMIT_BYTES = 1024 * 1024
_NUMBERED = re.compile(r"\s*#([0-9]{1,9})\s*")
KEYS = frozenset(
    {"protocol", "workflow", "prescription", "beams", "beam_count", "objectives", "goals", "parameters", "structures"}
)


def read(
    *,
    request_file: Path | None,
    target: str | None,
    dose_gy: float | None,
    fractions: int | None,
    beams: str | None,
    params: tuple[str, ...],
    goals: tuple[str, ...],
    structures: tuple[str, ...],
    label: str | None,
    batch: bool,
    protocol: str | None,
    workflow: str | None,
) -> dict[str, Any]:
    """What is asked for: the file's content, with the options over it."""
    request = read_file(request_file, KEYS) if request_file else {}
    options: dict[str, Any] = {"protocol": protocol, "workflow": workflow, "goals": list(goals) or None, "label": label}
    options["priority"] = "batch" if batch else None
    if beams is not None:
        options["beams"] = _beams(beams)
        request.pop("beam_count", None)
    request |= {k: v for k, v in options.items() if v is not None}
    prescription = {"target": target, "dose_gy": dose_gy, "fractions": fractions}
    over = {
        "prescription": {k: v for k, v in prescription.items() if v is not None},
        "parameters": {name: value_of(text) for name, text in pairs("--param", params)},
        "structures": rois(structures),
    }
    return request | {k: _mapping(request, k) | v for k, v in over.items() if v}


def _mapping(request: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = request.get(key) or {}
    if not isinstance(value, dict):
        raise click.UsageError(f"{key} in the file has to be a mapping")
    return dict(value)


def read_file(path: Path, allowed: frozenset[str]) -> dict[str, Any]:
    data = path.read_bytes()
    if len(data) > _FILE_LIMIT_BYTES:
        raise click.UsageError(f"{path}: {len(data)} bytes, at most {_FILE_LIMIT_BYTES} are read")
    try:
        value = plain_yaml.load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise click.UsageError(f"{path}: neither YAML nor JSON: {e}") from None
    if not isinstance(value, dict) or not set(value) <= allowed:
        raise click.UsageError(f"{path}: expected a mapping with some of {', '.join(sorted(allowed))}")
    return value


def pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [(name.strip(), equals, value) for name, equals, value in (text.partition("=") for text in given)]
    for text, (name, equals, _) in zip(given, pairs, strict=True):
        if not equals or not name:
            raise click.UsageError(f"{option} {text!r}: expected NAME=VALUE")
    return [(name, value) for name, _, value in pairs]


def rois(given: Sequence[str]) -> dict[str, str | int]:
    """Which ROI names stand for: each by its name, or as #12 by its number."""
    return {name: int(m[1]) if (m := _NUMBERED.fullmatch(text)) else text for name, text in pairs("--structure", given)}


def value_of(text: str) -> Any:
    try:
        return plain_yaml.load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _beams(text: str) -> list[dict[str, float]]:
    beams = []
    for part in text.split(","):
        gantry, _, couch = part.partition(":")
        try:
            beams.append({"gantry_deg": float(gantry), "couch_deg": float(couch or 0)})
        except ValueError:
            raise click.UsageError(f"--beams {part!r}: expected an angle, or gantry:couch, in degrees") from None
    return beams


def gamma(text: str | None) -> dict[str, Any] | None:
    """Criteria written 3/2, 3/2/local: % of dose, mm, and of what."""
    if text is None:
        return None
    dose, _, rest = text.partition("/")
    distance, _, kind = rest.partition("/")
    try:
        found: dict[str, Any] = {"dose_percent": float(dose), "distance_mm": float(distance)}
    except ValueError:
        found = {}
    if not found or kind not in ("", "global", "local"):
        raise click.UsageError(f"--gamma {text!r}: expected % and mm, such as 3/2, 3/2/global or 3/2/local")
    return found | ({"normalization": kind} if kind else {})

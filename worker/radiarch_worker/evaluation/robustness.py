"""A plan over error scenarios: from one evaluation for each to bands and worst cases; doses are computed elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.job import DvhCurve, StructureMetrics
from radiarch_contract.robustness import DvhBand, GoalBand, MetricBand
from radiarch_contract.states import GoalStatus

from .result import Evaluation

_METRICS = {"D98%": "d98_gy", "D95%": "d95_gy", "D50%": "d50_gy", "D2%": "d2_gy", "Dmean": "d_mean_gy"}


@dataclass(frozen=True)
class ScenarioEvaluation:
    """One scenario's dose, judged."""

    name: str
    evaluation: Evaluation


def bands(scenarios: Sequence[ScenarioEvaluation]) -> tuple[DvhBand, ...]:
    """For each structure the least and the greatest volume at each dose; scenarios share their dose bins."""
    found = []
    of_roi: dict[int, list[DvhCurve]] = {}
    for scenario in scenarios:
        for curve in scenario.evaluation.dvh:
            of_roi.setdefault(curve.roi_number, []).append(curve)
    for first in scenarios[0].evaluation.dvh:
        curves = of_roi[first.roi_number]
        longest = max((c.dose_gy for c in curves), key=len)
        volumes = np.zeros((len(curves), len(longest)))
        for row, curve in zip(volumes, curves, strict=True):
            row[: len(curve.dose_gy)] = _on_bins(curve, longest)
        found.append(
            DvhBand(
                structure=first.structure,
                roi_number=first.roi_number,
                dose_gy=longest,
                low_percent=tuple(volumes.min(axis=0).tolist()),
                high_percent=tuple(volumes.max(axis=0).tolist()),
            )
        )
    return tuple(found)


def _on_bins(curve: DvhCurve, bins: Sequence[float]) -> npt.NDArray[np.float64]:
    if curve.dose_gy != tuple(bins[: len(curve.dose_gy)]):
        raise AssertionError("scenarios were evaluated on different dose bins")
    return np.asarray(curve.volume_percent)


def metric_bands(scenarios: Sequence[ScenarioEvaluation]) -> tuple[MetricBand, ...]:
    """For each structure that has metrics in every scenario the lowest and highest of them, and where."""
    return tuple(_metric_bands(scenarios))


def _metric_bands(scenarios: Sequence[ScenarioEvaluation]) -> Iterator[MetricBand]:
    of_roi: dict[int, list[tuple[str, StructureMetrics]]] = {}
    for scenario in scenarios:
        for m in scenario.evaluation.metrics:
            of_roi.setdefault(m.roi_number, []).append((scenario.name, m))
    for first in scenarios[0].evaluation.metrics:
        everywhere = of_roi[first.roi_number]
        if len(everywhere) < len(scenarios):
            continue
        for metric, field in _METRICS.items():
            values = [(float(getattr(m, field)), name) for name, m in everywhere]
            (low, low_name), (high, high_name) = min(values, key=_value), max(values, key=_value)
            yield MetricBand(
                structure=first.structure,
                roi_number=first.roi_number,
                metric=metric,
                nominal_gy=values[0][0],
                low_gy=low,
                high_gy=high,
                low_scenario=low_name,
                high_scenario=high_name,
            )


def _value(pair: tuple[float, str]) -> float:
    return pair[0]


def goal_bands(scenarios: Sequence[ScenarioEvaluation]) -> tuple[GoalBand, ...]:
    """Each goal in its worst scenario."""
    return tuple(_goal_band(i, scenarios) for i in range(len(scenarios[0].evaluation.goals)))


def _goal_band(index: int, scenarios: Sequence[ScenarioEvaluation]) -> GoalBand:
    results: list[tuple[str, GoalResult]] = [(s.name, s.evaluation.goals[index]) for s in scenarios]
    first = results[0][1]
    judged = [(name, r, r.value) for name, r in results if r.value is not None]
    sign = 1.0 if Goal.parse(first.text).at_least else -1.0
    name, worst, _ = min(judged, key=lambda j: sign * j[2], default=(None, None, 0.0))
    return GoalBand(
        text=first.text,
        structure=first.structure,
        unit=first.unit,
        nominal=first.value,
        worst=None if worst is None else worst.value,
        worst_scenario=name,
        worst_status=None if worst is None else worst.status,
        met=sum(r.status is GoalStatus.MET for _, r in results),
        scenarios=len(results),
    )

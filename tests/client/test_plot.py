"""The DVH in the terminal: every curve stands where its doses are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image
from radiarch_client.cli import _plot
from radiarch_client.models import DvhBand, DvhCurve

DOSES = tuple(float(d) for d in np.linspace(0, 100, 401))


def curve(edge_gy: float, name: str = "PTV") -> DvhCurve:
    """All of the structure gets the same dose."""
    volumes = tuple(100.0 if d <= edge_gy else 0.0 for d in DOSES)
    return DvhCurve(structure=name, dose_gy=DOSES, volume_percent=volumes)


@settings(deadline=None, max_examples=25)
@given(st.integers(40, 396), st.integers(40, 120))
def test_an_edge_stands_above_its_dose(index: int, width: int) -> None:
    edge_gy, next_gy = DOSES[index], DOSES[index + 1]
    lines = _plot.in_terminal([curve(edge_gy)], width=width).plain.splitlines()
    middle = next(line for line in lines if line.startswith(" 50 %"))[7:]
    marked = [i for i, c in enumerate(middle) if c != "\u2800"]
    axis = lines[-2]
    step = _plot.tick_step_gy(_plot.top_dose_gy([curve(edge_gy)]))
    top = float(axis.replace("Gy", "").split()[-1])
    assert top > edge_gy >= top - step * 1.000001
    # it falls somewhere between the last dose that all of it gets and the next one
    assert edge_gy / top * (width - 1) - 1.5 <= marked[0] <= next_gy / top * (width - 1) + 1.5


@settings(deadline=None)
@given(st.floats(0, 110), st.floats(5, 95))
def test_volumes_are_interpolated(dose_gy: float, edge_gy: float) -> None:
    volumes = tuple(100 / (1 + np.exp((np.array(DOSES) - edge_gy) / 3)))
    smooth = DvhCurve(structure="x", dose_gy=DOSES, volume_percent=volumes)
    assert _plot.volume_at(smooth, dose_gy) == pytest.approx(np.interp(dose_gy, DOSES, volumes, right=0.0))


@settings(deadline=None)
@given(st.floats(0.01, 5000))
def test_ticks_are_few_and_round(top_gy: float) -> None:
    step = _plot.tick_step_gy(top_gy)
    assert 4 <= top_gy / step <= 10.000001
    assert step / 10 ** np.floor(np.log10(step) + 1e-9) == pytest.approx(
        min((1, 2, 5), key=lambda f: abs(f - step / 10 ** np.floor(np.log10(step) + 1e-9)))
    )


def test_nothing_to_draw() -> None:
    empty = DvhCurve(structure="empty", dose_gy=(), volume_percent=())
    assert "empty" in _plot.in_terminal([empty]).plain
    assert _plot.in_terminal([]).plain


def test_a_band_is_shaded_in_its_structures_place(tmp_path: Path) -> None:
    curve = DvhCurve(structure="x", dose_gy=(0, 50, 60, 70), volume_percent=(100, 100, 50, 0))
    band = DvhBand(structure="x", dose_gy=(0, 50, 60, 70), low_percent=(100, 90, 30, 0), high_percent=(100, 100, 70, 0))
    other = band.model_copy(update={"structure": "not drawn"})

    def colored(*bands: DvhBand) -> int:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        _plot.to_png([("a", [curve])], path, bands=bands)
        pixels = image.imread(path)[:, :, :3]
        return int((np.ptp(pixels, axis=2) > 0.05).sum())

    assert colored(band) > colored() + 1000
    assert colored(other) == colored()

"""Point kernels of photons: what is released stays somewhere, beams harden, and broken files are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_worker.engines.photonkernels import Spectrum, beam_quality, point_kernels, shipped_spectrum
from radiarch_worker.engines.photonkernels.kernels import FOLDER, read_kernels


def kernel_folder() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("opentps")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / FOLDER


def test_most_of_the_released_energy_stays_within_the_last_shell() -> None:
    kernels = point_kernels()
    shares = kernels.total.sum(axis=(1, 2))
    assert ((shares > 0.93) & (shares < 1.0)).all()
    assert (kernels.primary <= kernels.total).all()
    # electrons bring what is absorbed where it is released: their share is mu_en / mu, less their bremsstrahlung
    primary, absorbed = kernels.primary.sum(axis=(1, 2)), kernels.absorption_cm2_g / kernels.attenuation_cm2_g
    np.testing.assert_allclose(primary, absorbed, rtol=0.03)


def test_a_beam_hardens_with_depth() -> None:
    quality = beam_quality(shipped_spectrum())
    depths = np.linspace(0, 30, 7)
    slope = -np.diff(np.log(quality.terma_cm2_g(depths)))
    assert (np.diff(slope) < 0).all()
    assert quality.primary_kernel(20.0).sum() > quality.primary_kernel(0.0).sum()


def test_photons_between_two_energies_keep_number_and_energy() -> None:
    kernels = point_kernels()
    quality = beam_quality(Spectrum((1.7,), (2.0,)))
    photons = quality.energy_fluence / kernels.energies_mev
    assert quality.energy_fluence.sum() == pytest.approx(1.0)
    assert (photons @ kernels.energies_mev) / photons.sum() == pytest.approx(1.7)


def test_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        point_kernels().total[0, 0, 0] = 1.0


@pytest.mark.parametrize("name", ["total", "mu", "kernel_header"])
def test_a_file_that_is_cut_off_or_missing_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "kernels"
    shutil.copytree(kernel_folder(), folder)
    name = "primary" if name == "total" else name
    path = next(folder.glob(f"{name}.*"))
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(EngineError, match=name) as cut:
        read_kernels(folder, "test")
    path.unlink()
    with pytest.raises(EngineError, match=name) as missing:
        read_kernels(folder, "test")
    assert cut.value.code == missing.value.code == ErrorCode.ENGINE_MISSING

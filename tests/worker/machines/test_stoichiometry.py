"""Tissues, and a scanner's curve for them, against published numbers and laws that any fit has to keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radiarch_worker.engines.mcsquare import load_calibration
from radiarch_worker.engines.mcsquare.materials import shipped_materials
from radiarch_worker.machines.composition import WATER
from radiarch_worker.machines.stoichiometry import Attenuation, Insert, fit, tissue_curve
from radiarch_worker.machines.tissues import TISSUES

SCHNEIDER = Attenuation(1.24e-3, 3.06e-5)
PUBLISHED_HU = {
    "adipose tissue 3": -98,
    "adrenal gland": 14,
    "small intestine": 23,
    "connective tissue": 100,
    "femur, head": 538,
    "cranium": 999,
    "mandible": 1113,
    "cortical bone": 1524,
}
"""Schneider, Bortfeld and Schlegel 2000, table 1, with the coefficients above."""
SOFT = [t for t in TISSUES.values() if t.kind == "soft" and t.name != "thyroid"]  # which has iodine


@pytest.mark.parametrize("name", PUBLISHED_HU)
def test_tissues_have_their_published_ct_numbers(name: str) -> None:
    tissue = TISSUES[name]
    assert SCHNEIDER.hu(tissue.composition, tissue.density_g_cm3) == pytest.approx(PUBLISHED_HU[name], abs=1.0)


@pytest.mark.parametrize("tissue", TISSUES.values(), ids=lambda t: t.name)
def test_compositions_are_whole(tissue: object) -> None:
    shares = tissue.composition.shares  # type: ignore[attr-defined]
    assert sum(s for _, s in shares) == pytest.approx(1.0)


NIST = {
    "adipose tissue 2": (64.8, 0.55579),
    "blood": (75.2, 0.54999),
    "cortical bone": (112.0, 0.51478),
    "lung": (75.2, 0.55048),
    "muscle 2": (74.6, 0.55000),
    "ovary": (75.0, 0.55149),
    "testis": (74.7, 0.55200),
}
"""Mean excitation energy, eV, and Z/A of ICRU 44's tissues: NIST, X-ray mass attenuation coefficients, table 2."""


@pytest.mark.parametrize("name", NIST)
def test_electrons_and_excitation_are_those_of_nists_table(name: str) -> None:
    excitation_ev, electrons = NIST[name]
    composition = TISSUES[name].composition
    assert composition.excitation_ev == pytest.approx(excitation_ev, abs=0.15)
    assert composition.electrons_per_u == pytest.approx(electrons, abs=2e-4)


def test_stopping_power_relative_to_water() -> None:
    """Muscle and cortical bone against PSTAR's tables, which are of ICRU's and ICRP's compositions, at 100 MeV."""
    assert WATER.electrons_per_u == pytest.approx(0.5551, abs=1e-4)
    assert WATER.radiation_length_g_cm2 == pytest.approx(36.08, abs=0.05)
    assert float(WATER.mass_stopping_ratio(100.0)) == 1.0
    shipped = shipped_materials()  # of Geant4's, by its own tables and excitation energies
    for name, ours in (("Muscle_Skeletal", "muscle 2"), ("Bone_Cortical", "cortical bone"), ("Lung", "lung")):
        ratio = float(TISSUES[ours].composition.mass_stopping_ratio())
        assert ratio == pytest.approx(shipped[name].stopping_ratio, rel=0.008), name


def test_water_is_water_whatever_the_scanner() -> None:
    for attenuation in (SCHNEIDER, Attenuation(0.0, 5e-5), Attenuation(3e-3, 1e-5)):
        assert attenuation.hu(WATER, 1.0) == pytest.approx(0.0, abs=1e-9)
        curve = tissue_curve(attenuation)
        hu, density = np.array(curve.density).T
        assert np.interp(0.0, hu, density) == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    coherent=st.floats(2e-4, 2.5e-3),
    photo=st.floats(1.5e-5, 5e-5),
    noise=st.lists(st.floats(-4, 4), min_size=9, max_size=9),
)
def test_a_phantom_gives_the_scanners_coefficients_back(coherent: float, photo: float, noise: list[float]) -> None:
    """Without noise exactly; with some HU of noise, tissues' CT numbers are right to as much."""
    true = Attenuation(coherent, photo)
    names = (
        "lung",
        "adipose tissue 2",
        "mammary gland 2",
        "brain, grey",
        "liver 2",
        "spongiosa",
        "vertebra C4",
        "cranium",
        "cortical bone",
    )
    rods = [TISSUES[n] for n in names]

    def inserts(errors: list[float]) -> list[Insert]:
        return [
            Insert(t.name, true.hu(t.composition, t.density_g_cm3) + e, t.density_g_cm3, t.composition)
            for t, e in zip(rods, errors, strict=True)
        ]

    exact = fit(inserts([0.0] * 9))
    assert (exact.coherent, exact.photoelectric) == pytest.approx((coherent, photo), rel=1e-3)
    noisy = fit(inserts(noise))
    for tissue in TISSUES.values():
        if tissue.density_g_cm3 < 2:
            found, wanted = (a.hu(tissue.composition, tissue.density_g_cm3) for a in (noisy, true))
            assert found == pytest.approx(wanted, abs=15)


@settings(max_examples=30, deadline=None)
@given(coherent=st.floats(2e-4, 2.5e-3), photo=st.floats(1.5e-5, 5e-5))
def test_curves_rise_and_stopping_power_has_no_steps(coherent: float, photo: float) -> None:
    curve = tissue_curve(Attenuation(coherent, photo))
    hu, density = np.array(curve.density).T
    assert (np.diff(hu) > 0).all()
    assert (np.diff(density) > 0).all()
    starts = [start for start, _ in curve.materials]
    assert (np.diff(starts) > 0).all()
    ratios = np.array([float(c.mass_stopping_ratio()) for _, c in curve.materials])
    at = np.interp(starts[1:], hu, density)
    assert abs(np.diff(ratios) * at).max() < 0.006


def test_the_generic_calibration_is_that_of_clinics_in_soft_tissue() -> None:
    calibration = load_calibration("generic-icru")

    def rsp(hu: float) -> float:
        return float(calibration.stopping_power(np.full((1, 1, 1), hu, dtype=np.float32))[0, 0, 0])

    assert rsp(0) == pytest.approx(1.0, abs=1e-3)
    assert rsp(40) == pytest.approx(1.04, abs=0.004)
    assert rsp(-1000) < 0.002
    for tissue in SOFT:
        hu = SCHNEIDER.hu(tissue.composition, tissue.density_g_cm3)
        true = tissue.density_g_cm3 * float(tissue.composition.mass_stopping_ratio())
        assert rsp(hu) == pytest.approx(true, rel=0.025), tissue.name

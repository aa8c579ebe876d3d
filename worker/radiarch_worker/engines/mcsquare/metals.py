"""Materials denser than CT numbers can say, such as implants of a stated density; who states it is known elsewhere.

A voxel of such a material has a number that no CT has: `METAL_HU` and 100 for each g/cm³. A calibration has these
numbers behind its own where a CT uses them.
"""

from __future__ import annotations

METAL_HU = 25_000.0
HU_BY_DENSITY = 100.0
MAX_G_CM3 = 25.0
METALS = (
    (0.0, "Bone_Cortical"),
    (2.2, "aluminium"),
    (3.5, "titanium"),
    (6.0, "iron"),
    (8.4, "copper"),
    (9.8, "lead"),
    (14.0, "tungsten"),
)
"""Density from which on (g/cm³), and the engine's material: alloys in use have the densities of their main metal."""


def metal_hu(density_g_cm3: float) -> float:
    """The number of a density."""
    return METAL_HU + HU_BY_DENSITY * density_g_cm3


def metal_of(hu: float) -> str:
    """The material that a number stands for."""
    density_g_cm3 = (hu - METAL_HU) / HU_BY_DENSITY
    # At the very start of a material the engine still takes the one before.
    return [name for start, name in METALS if density_g_cm3 > start][-1]

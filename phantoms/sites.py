"""Head, neck, chest, breast and a small child's brain and spine: what the protocols that ship are planned on in tests.

Coarse, and no more anatomy than the protocols name: patient LPS millimetres, +x is the patient's left, +y posterior,
+z superior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .shapes import Cylinder, Ellipsoid, Shape, Vector3
from .study import PhantomRoi, PhantomStudy, make_study
from .tissues import AIR_HU, CORTICAL_HU, FAT_HU, LUNG_HU, MUSCLE_HU, Tissue, bone, paint

_Colour = tuple[int, int, int]
_ORGANS: tuple[_Colour, ...] = (
    (0, 128, 255),
    (255, 165, 0),
    (0, 200, 200),
    (160, 32, 240),
    (210, 180, 0),
    (139, 69, 19),
    (255, 105, 180),
    (100, 149, 237),
    (128, 128, 0),
)


@dataclass(frozen=True)
class _Site:
    """A patient: what is painted, what is contoured, and how much of him is scanned.

    Attributes
    ----------
    body : the outline's parts
    ptv : the target's parts
    organs : parts by name
    half_mm : half of the scanned field along x and y
    z_mm : centres of the lowest and the highest slice
    """

    body_part: str
    tissues: tuple[Tissue, ...]
    body: tuple[Shape, ...]
    ptv: tuple[Shape, ...]
    organs: Mapping[str, tuple[Shape, ...]]
    half_mm: tuple[float, float]
    z_mm: tuple[float, float]


def _spine(y_mm: float, half_mm: float, z_mm: float = 0.0, length_mm: float = 800.0) -> tuple[list[Tissue], Cylinder]:
    """A bony canal with the cord in it; the cord."""
    cord = Cylinder((0.0, y_mm, z_mm), (6.0, 6.0), length_mm)
    vertebrae = Cylinder((0.0, y_mm - 6.0, z_mm), (half_mm, half_mm + 4.0), length_mm)
    canal = Cylinder((0.0, y_mm, z_mm), (9.0, 9.0), length_mm)
    return [Tissue(vertebrae, 250.0), Tissue(canal, 20.0), Tissue(cord, 40.0)], cord


def _brain() -> _Site:
    body, skull = Ellipsoid((0, 0, 0), (78, 98, 108)), Ellipsoid((0, 0, 0), (72, 92, 102))
    inside = Ellipsoid((0, 0, 0), (66, 86, 96))
    stem = Cylinder((0, 22, -55), (13, 13), 50)
    chiasm = Ellipsoid((0, -18, -32), (9, 7, 6))
    nerves = [Ellipsoid((s * 16, -45, -36), (5, 20, 5)) for s in (1.0, -1.0)]
    eyes = [Ellipsoid((s * 30, -70, -36), (11, 11, 11)) for s in (1.0, -1.0)]
    organs: dict[str, tuple[Shape, ...]] = {
        "Brain": (inside,),
        "Brainstem": (stem,),
        "OpticChiasm": (chiasm,),
        "OpticNrv_L": (nerves[0],),
        "OpticNrv_R": (nerves[1],),
        "Eye_L": (eyes[0],),
        "Eye_R": (eyes[1],),
    }
    tissues = (
        *(Tissue(body, MUSCLE_HU), Tissue(skull, CORTICAL_HU), Tissue(inside, 35.0)),
        *(Tissue(e, 10.0) for e in eyes),
        *(Tissue(nerve, 40.0) for nerve in nerves),
        *(Tissue(stem, 40.0), Tissue(chiasm, 40.0)),
    )
    ptv = Ellipsoid((-28, 12, 30), (18, 20, 18))
    return _Site("HEAD", tissues, (body,), (ptv,), organs, (95, 115), (-90, 106))


def _head_neck() -> _Site:
    body = Cylinder((0, 0, 0), (72, 88), 800)
    spine, cord = _spine(40, 16)
    airway = Cylinder((0, -8, -60), (9, 8), 140)
    parotids = [Ellipsoid((s * 52, 4, 30), (12, 18, 22)) for s in (1.0, -1.0)]
    organs: dict[str, tuple[Shape, ...]] = {
        "SpinalCord": (Cylinder(cord.centre_mm, cord.semi_axes_mm, 120),),
        "Brainstem": (Cylinder((0, 34, 78), (12, 12), 30),),
        "Parotid_L": (parotids[0],),
        "Parotid_R": (parotids[1],),
        "Larynx": (Ellipsoid((0, -14, -48), (18, 18, 18)),),
        "Cavity_Oral": (Ellipsoid((6, -52, 18), (26, 20, 16)),),
        "Musc_Constrict": (Cylinder((0, 10, -10), (14, 5), 70),),
    }
    tissues = (
        *(Tissue(body, FAT_HU), Tissue(Cylinder((0, 0, 0), (68, 84), 800), MUSCLE_HU)),
        *spine,
        *(Tissue(p, 20.0) for p in parotids),
        *(t for s in (1.0, -1.0) for t in bone(Ellipsoid((s * 44, -34, 8), (9, 34, 14)), 3.0)),
        Tissue(airway, AIR_HU),
    )
    ptv = Ellipsoid((-26, -8, 8), (16, 18, 22))
    return _Site("HEADNECK", tissues, (body,), (ptv,), organs, (90, 105), (-92, 92))


_CHEST = Cylinder((0, 0, 0), (160, 110), 900)
_LUNGS = (Ellipsoid((78, 8, 0), (52, 66, 120)), Ellipsoid((-78, 8, 0), (52, 66, 120)))
_HEART = Ellipsoid((18, -28, -30), (44, 36, 42))


def _chest() -> tuple[list[Tissue], dict[str, tuple[Shape, ...]]]:
    spine, cord = _spine(62, 22)
    gullet = Cylinder((0, 26, 0), (8, 7), 900)
    tissues = [
        *(Tissue(_CHEST, FAT_HU), Tissue(Cylinder((0, 4, 0), (146, 92), 900), MUSCLE_HU)),
        *(Tissue(lung, LUNG_HU, unless=_HEART) for lung in _LUNGS),
        *(Tissue(_HEART, 40.0), Tissue(gullet, 20.0)),
        *spine,
    ]
    organs: dict[str, tuple[Shape, ...]] = {
        "Lungs": _LUNGS,
        "Lung_L": _LUNGS[:1],
        "Lung_R": _LUNGS[1:],
        "Heart": (_HEART,),
        "Esophagus": (gullet,),
        "SpinalCord": (cord,),
    }
    return tissues, organs


def _lung() -> _Site:
    tissues, organs = _chest()
    tumor = Ellipsoid((-76, 22, 30), (14, 14, 14))
    ptv = Ellipsoid(tumor.centre_mm, (19, 19, 19))
    return _Site("CHEST", (*tissues, Tissue(tumor, 40.0)), (_CHEST,), (ptv,), organs, (175, 125), (-80, 110))


def _breast(side: float) -> _Site:
    """Breasts that lie flat: within the chest's outline, so that it is one contour."""
    tissues, organs = _chest()
    here, other = (Ellipsoid((s * 64, -74, 0), (36, 15, 36)) for s in (side, -side))
    names = ("Breast_L", "Breast_R") if side > 0 else ("Breast_R", "Breast_L")
    ptv = Ellipsoid(here.centre_mm, (30, 11, 30))
    more = {names[0]: (here,), names[1]: (other,)}
    painted = (*tissues, Tissue(here, -30.0), Tissue(other, -30.0))
    return _Site("CHEST", painted, (_CHEST,), (ptv,), {**organs, **more}, (175, 125), (-95, 95))


def _craniospinal() -> _Site:
    """A child so small that brain and spine are 34 cm long."""
    head, trunk = Cylinder((0, 0, 132), (72, 88), 128), Cylinder((0, 0, -132), (100, 66), 400)
    skull, brain = Cylinder((0, 0, 124), (67, 83), 112), Cylinder((0, 0, 124), (61, 77), 104)
    spine, _ = _spine(36, 14, -80, 320)
    cord = Cylinder((0, 36, -46), (6, 6), 236)
    eyes = [Ellipsoid((s * 28, -66, 96), (11, 11, 11)) for s in (1.0, -1.0)]
    organs: dict[str, tuple[Shape, ...]] = {
        "Brain": (brain,),
        "SpinalCord": (cord,),
        "Eye_L": (eyes[0],),
        "Eye_R": (eyes[1],),
        "Heart": (Ellipsoid((14, -18, -60), (30, 26, 28)),),
        "Kidney_L": (Ellipsoid((42, 18, -150), (18, 16, 28)),),
        "Kidney_R": (Ellipsoid((-42, 18, -150), (18, 16, 28)),),
    }
    lungs = [Ellipsoid((s * 48, 0, -40), (32, 42, 58)) for s in (1.0, -1.0)]
    tissues = (
        *(Tissue(head, MUSCLE_HU), Tissue(trunk, MUSCLE_HU), Tissue(skull, CORTICAL_HU), Tissue(brain, 35.0)),
        *(Tissue(lung, LUNG_HU) for lung in lungs),
        *spine,
    )
    ptv = (Cylinder((0, 0, 124), (61, 77), 104), Cylinder((0, 36, -46), (14, 12), 236))
    return _Site("WHOLEBODY", tissues, (head, trunk), ptv, organs, (115, 105), (-222, 214))


_SITES: Mapping[str, Callable[[], _Site]] = {
    "brain": _brain,
    "head-neck": _head_neck,
    "lung": _lung,
    "breast-left": lambda: _breast(1.0),
    "breast-right": lambda: _breast(-1.0),
    "craniospinal": _craniospinal,
}
SITES = tuple(_SITES)
"""Names that `site` takes."""


def site(
    name: str,
    *,
    spacing_mm: Vector3 = (5.0, 5.0, 4.0),
    noise_hu: float = 10.0,
    patient_id: str | None = None,
    patient_name: str = "Phantom^Site",
    seed: str | None = None,
) -> PhantomStudy:
    """A patient with BODY, PTV and the organs that the protocol for this site names.

    Parameters
    ----------
    name : one of `SITES`
    spacing_mm : (x, y, z)
    noise_hu : standard deviation of the image noise, which is the same in every run
    seed : None for fresh UIDs, else UIDs derived from it
    """
    drawn = _SITES[name]()
    dx, dy, dz = spacing_mm
    z_mm = np.arange(drawn.z_mm[0], drawn.z_mm[1] + 0.5 * dz, dz)
    x_mm, y_mm = (np.arange(-half + d / 2, half, d) for half, d in zip(drawn.half_mm, (dx, dy), strict=True))
    z, y, x = np.meshgrid(z_mm, y_mm, x_mm, indexing="ij")
    rois = [
        PhantomRoi("BODY", drawn.body[0], "EXTERNAL", (0, 200, 0), points=180, more=drawn.body[1:]),
        PhantomRoi("PTV", drawn.ptv[0], "PTV", (255, 0, 0), more=drawn.ptv[1:]),
    ]
    for (organ, parts), colour in zip(drawn.organs.items(), _ORGANS, strict=False):
        rois.append(PhantomRoi(organ, parts[0], "ORGAN", colour, more=parts[1:]))
    return make_study(
        paint(drawn.tissues, x, y, z, noise_hu=noise_hu),
        rois,
        origin_mm=(float(x_mm[0]), float(y_mm[0]), float(z_mm[0])),
        spacing_mm=spacing_mm,
        patient_id=patient_id or f"RADIARCH-{name.upper()}",
        patient_name=patient_name,
        study_description=f"Radiarch {name} phantom",
        series_description=f"CT {name} phantom",
        seed=seed,
        body_part=drawn.body_part,
    )

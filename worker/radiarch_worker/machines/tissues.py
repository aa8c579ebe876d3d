"""Human tissues of reference; numbers only.

Densities in g/cm³ and compositions in % by mass: Woodard and White, Br J Radiol 59:1209 (1986), and White, Woodard and
Hammond, Br J Radiol 60:907 (1987), as tabled by Schneider, Bortfeld and Schlegel, Phys Med Biol 45:459 (2000); ICRU 44
and 46 have the same where they have them. Air: ICRU 37. Teeth: ICRP 110.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .composition import Composition

_TABLE = """
air                     air   0.001205  C 0.01 N 75.53 O 23.18 Ar 1.28
lung                    lung  0.26      H 10.3 C 10.5 N 3.1 O 74.9 Na 0.2 P 0.2 S 0.3 Cl 0.3 K 0.2
lung, deflated          soft  1.05      H 10.3 C 10.5 N 3.1 O 74.9 Na 0.2 P 0.2 S 0.3 Cl 0.3 K 0.2
adipose tissue 3        fat   0.93      H 11.6 C 68.1 N 0.2 O 19.8 Na 0.1 S 0.1 Cl 0.1
adipose tissue 2        fat   0.95      H 11.4 C 59.8 N 0.7 O 27.8 Na 0.1 S 0.1 Cl 0.1
adipose tissue 1        fat   0.97      H 11.2 C 51.7 N 1.3 O 35.5 Na 0.1 S 0.1 Cl 0.1
yellow marrow           fat   0.98      H 11.5 C 64.4 N 0.7 O 23.1 Na 0.1 S 0.1 Cl 0.1
mammary gland 1         fat   0.99      H 10.9 C 50.6 N 2.3 O 35.8 Na 0.1 P 0.1 S 0.1 Cl 0.1
yellow and red marrow   fat   1.00      H 11.0 C 52.9 N 2.1 O 33.5 P 0.1 S 0.1 Cl 0.2 K 0.1
water                   soft  1.00      H 11.19 O 88.81
cerebrospinal fluid     soft  1.01      H 11.1 O 88.0 Na 0.5 Cl 0.4
mammary gland 2         soft  1.02      H 10.6 C 33.2 N 3.0 O 52.7 Na 0.1 P 0.1 S 0.2 Cl 0.1
urine                   soft  1.02      H 11.0 C 0.5 N 1.0 O 86.2 Na 0.4 P 0.1 Cl 0.6 K 0.2
red marrow              soft  1.03      H 10.5 C 41.4 N 3.4 O 43.9 P 0.1 S 0.2 Cl 0.2 K 0.2 Fe 0.1
bile                    soft  1.03      H 10.8 C 6.1 N 0.1 O 82.2 Na 0.4 Cl 0.4
lymph                   soft  1.03      H 10.8 C 4.1 N 1.1 O 83.2 Na 0.3 S 0.1 Cl 0.4
adrenal gland           soft  1.03      H 10.6 C 28.4 N 2.6 O 57.8 P 0.1 S 0.2 Cl 0.2 K 0.1
small intestine         soft  1.03      H 10.6 C 11.5 N 2.2 O 75.1 Na 0.1 P 0.1 S 0.1 Cl 0.2 K 0.1
brain, grey             soft  1.04      H 10.7 C 9.5 N 1.8 O 76.7 Na 0.2 P 0.3 S 0.2 Cl 0.3 K 0.3
brain, white            soft  1.04      H 10.6 C 19.4 N 2.5 O 66.1 Na 0.2 P 0.4 S 0.2 Cl 0.3 K 0.3
pancreas                soft  1.04      H 10.6 C 16.9 N 2.2 O 69.4 Na 0.2 P 0.2 S 0.1 Cl 0.2 K 0.2
prostate                soft  1.04      H 10.5 C 8.9 N 2.5 O 77.4 Na 0.2 P 0.1 S 0.2 K 0.2
testis                  soft  1.04      H 10.6 C 9.9 N 2.0 O 76.6 Na 0.2 P 0.1 S 0.2 Cl 0.2 K 0.2
muscle 1                soft  1.05      H 10.1 C 17.1 N 3.6 O 68.1 Na 0.1 P 0.2 S 0.3 Cl 0.1 K 0.4
muscle 2                soft  1.05      H 10.2 C 14.3 N 3.4 O 71.0 Na 0.1 P 0.2 S 0.3 Cl 0.1 K 0.4
muscle 3                soft  1.05      H 10.2 C 11.2 N 3.0 O 74.5 Na 0.1 P 0.2 S 0.3 Cl 0.1 K 0.4
heart 2                 soft  1.05      H 10.4 C 13.9 N 2.9 O 71.8 Na 0.1 P 0.2 S 0.2 Cl 0.2 K 0.3
kidney 2                soft  1.05      H 10.3 C 13.2 N 3.0 O 72.4 Na 0.2 P 0.2 S 0.2 Cl 0.2 K 0.2 Ca 0.1
stomach                 soft  1.05      H 10.4 C 13.9 N 2.9 O 72.1 Na 0.1 P 0.1 S 0.2 Cl 0.1 K 0.2
ovary                   soft  1.05      H 10.5 C 9.3 N 2.4 O 76.8 Na 0.2 P 0.2 S 0.2 Cl 0.2 K 0.2
thyroid                 soft  1.05      H 10.4 C 11.9 N 2.4 O 74.5 Na 0.2 P 0.1 S 0.1 Cl 0.2 K 0.1 I 0.1
aorta                   soft  1.05      H 9.9 C 14.7 N 4.2 O 69.8 Na 0.2 P 0.4 S 0.3 K 0.1 Ca 0.4
liver 2                 soft  1.06      H 10.2 C 13.9 N 3.0 O 71.6 Na 0.2 P 0.3 S 0.3 Cl 0.2 K 0.3
spleen                  soft  1.06      H 10.3 C 11.3 N 3.2 O 74.1 Na 0.1 P 0.3 S 0.2 Cl 0.2 K 0.3
blood                   soft  1.06      H 10.2 C 11.0 N 3.3 O 74.5 Na 0.1 P 0.1 S 0.2 Cl 0.3 K 0.2 Fe 0.1
eye lens                soft  1.07      H 9.6 C 19.5 N 5.7 O 64.6 Na 0.1 P 0.1 S 0.3 Cl 0.1
skin 2                  soft  1.09      H 10.0 C 20.4 N 4.2 O 64.5 Na 0.2 P 0.1 S 0.2 Cl 0.3 K 0.1
cartilage               soft  1.10      H 9.6 C 9.9 N 2.2 O 74.4 Na 0.5 P 2.2 S 0.9 Cl 0.3
connective tissue       soft  1.12      H 9.4 C 20.7 N 6.2 O 62.2 Na 0.6 S 0.6 Cl 0.3
spongiosa               bone  1.18      H 8.5 C 40.4 N 2.8 O 36.7 Na 0.1 Mg 0.1 P 3.4 S 0.2 Cl 0.2 K 0.1 Ca 7.4 Fe 0.1
sternum                 bone  1.25      H 7.8 C 31.6 N 3.7 O 43.8 Na 0.1 Mg 0.1 P 4.0 S 0.2 Cl 0.1 K 0.1 Ca 8.5 Fe 0.1
sacrum, male            bone  1.29      H 7.4 C 30.2 N 3.7 O 43.8 Mg 0.1 P 4.5 S 0.2 Cl 0.1 K 0.1 Ca 9.8 Fe 0.1
vertebra D6 or L3       bone  1.33      H 7.0 C 28.7 N 3.8 O 43.7 Mg 0.1 P 5.1 S 0.2 Cl 0.1 K 0.1 Ca 11.1 Fe 0.1
femur, head             bone  1.33      H 7.1 C 37.9 N 2.6 O 34.2 Na 0.1 Mg 0.1 P 5.6 S 0.2 Ca 12.2
femur, trochanter       bone  1.36      H 6.9 C 36.6 N 2.7 O 34.7 Na 0.1 Mg 0.1 P 5.9 S 0.2 Ca 12.8
rib 2 or 6              bone  1.41      H 6.4 C 26.3 N 3.9 O 43.6 Na 0.1 Mg 0.1 P 6.0 S 0.3 Cl 0.1 K 0.1 Ca 13.1
femur, total            bone  1.42      H 6.3 C 33.3 N 2.9 O 36.2 Na 0.1 Mg 0.1 P 6.6 S 0.2 Ca 14.3
vertebra C4             bone  1.42      H 6.3 C 26.1 N 3.9 O 43.6 Na 0.1 Mg 0.1 P 6.1 S 0.3 Cl 0.1 K 0.1 Ca 13.3
humerus, total          bone  1.46      H 6.0 C 31.4 N 3.1 O 36.9 Na 0.1 Mg 0.1 P 7.0 S 0.2 Ca 15.2
humerus, shaft          bone  1.49      H 5.8 C 30.1 N 3.2 O 37.4 Na 0.1 Mg 0.2 P 7.2 S 0.2 Ca 15.8
rib 10                  bone  1.52      H 5.6 C 23.5 N 4.0 O 43.4 Na 0.1 Mg 0.1 P 7.2 S 0.3 Cl 0.1 K 0.1 Ca 15.6
cranium                 bone  1.61      H 5.0 C 21.2 N 4.0 O 43.5 Na 0.1 Mg 0.2 P 8.1 S 0.3 Ca 17.6
mandible                bone  1.68      H 4.6 C 19.9 N 4.1 O 43.5 Na 0.1 Mg 0.2 P 8.6 S 0.3 Ca 18.7
femur, shaft            bone  1.75      H 4.2 C 20.4 N 3.8 O 41.5 Na 0.1 Mg 0.2 P 9.3 S 0.3 Ca 20.2
cortical bone           bone  1.92      H 3.4 C 15.5 N 4.2 O 43.5 Na 0.1 Mg 0.2 P 10.3 S 0.3 Ca 22.5
teeth                   bone  2.75      H 2.2 C 9.5 N 2.9 O 42.1 Mg 0.7 P 13.7 Ca 28.9
"""


@dataclass(frozen=True)
class Tissue:
    """A tissue.

    Attributes
    ----------
    kind : air, lung, fat, soft or bone
    """

    name: str
    kind: str
    density_g_cm3: float
    composition: Composition


def _read(line: str) -> Tissue:
    name, kind, density, elements = re.split(r"\s{2,}", line, maxsplit=3)
    words = elements.split()
    percent = {symbol: float(value) for symbol, value in zip(words[::2], words[1::2], strict=True)}
    return Tissue(name, kind, float(density), Composition.of(percent))


TISSUES: Mapping[str, Tissue] = {t.name: t for t in map(_read, _TABLE.strip().splitlines())}
"""By name."""

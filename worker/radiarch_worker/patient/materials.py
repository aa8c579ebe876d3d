"""What a structure set says of a ROI's material and of its part in the treatment; what is made of it is planning's."""

from __future__ import annotations

from collections.abc import Mapping

BOLUS = "BOLUS"
DEVICES = frozenset({"SUPPORT", "FIXATION", "DEVICE"})
"""RT ROI Interpreted Types of what lies outside of the patient: a couch, a mask."""
DENSITY_TERMS = {
    "REL_STOP_RATIO": "relative stopping power",
    "REL_STOP_PWR_RATIO": "relative stopping power",  # no term of the standard; some write it out
    "REL_MASS_DENSITY": "relative mass density",
    "REL_ELEC_DENSITY": "relative electron density",
}
"""ROI Physical Property (3006,00B2) by which protons are slowed down; the first one that is given counts."""


def stated_density(properties: Mapping[str, float]) -> str | None:
    """The property that counts, or None where no density is given."""
    return next((term for term in DENSITY_TERMS if term in properties), None)


def counts_in_dose(interpreted_type: str, properties: Mapping[str, float]) -> bool:
    """Whether a ROI changes the dose by what the structure set says of it."""
    if interpreted_type == BOLUS:
        return True
    # A density of the whole patient, or of a couch, is not used.
    return stated_density(properties) is not None and interpreted_type not in DEVICES | {"EXTERNAL"}

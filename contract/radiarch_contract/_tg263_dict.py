"""TG-263 names (AAPM, doi:10.1016/j.ijrobp.2017.12.013) and what else they are called in the wild; data only.

A synonym is another name of the very same thing: never of a part of it, of what it is a part of, or of a copy that
was cropped or grown. Synonyms are compared without case, accents and separators.
"""

from __future__ import annotations

from collections.abc import Iterable

_SIDES = {"L": ("L", "Left", "Lt", "li"), "R": ("R", "Right", "Rt", "re")}

_SINGLE: dict[str, tuple[str, ...]] = {
    "BODY": ("External", "Skin", "Body Contour", "Outline", "Patient", "Externe", "Körper"),
    "PTV": ("PTV_High", "PTV1", "PTV_Total", "PTV all"),
    "CTV": ("CTV_High", "CTV1", "CTV_Total"),
    "GTV": ("GTVp", "GTV1"),
    "ITV": (),
    # pelvis
    "Rectum": ("Rektum", "Recto", "Rectal"),
    "Bladder": ("Urinary Bladder", "Blase", "Harnblase", "Vessie", "Vejiga"),
    "Prostate": ("Prostata", "CTV_Prostate"),
    "SeminalVes": ("Seminal Vesicles", "SV", "Samenblasen"),
    "PenileBulb": ("Penile Bulb", "Bulb"),
    "Bowel": ("Bowel_Bag", "Bowel_Small", "Small Bowel", "Darm"),
    "Bag_Bowel": ("Bowel Bag", "Bowelbag"),
    "Bowel_Small": ("Small Bowel", "Dünndarm"),
    "Bowel_Large": ("Large Bowel", "Dickdarm"),
    "Colon_Sigmoid": ("Sigmoid", "Sigmoid Colon", "Colon Sigmoideum"),
    "Uterus": (),
    "Vagina": (),
    # spine
    "SpinalCord": ("Spinal Cord", "Cord", "Spinal Chord", "Myelon", "Medulla", "Rückenmark", "Moelle épinière"),
    "SpinalCanal": ("Spinal Canal", "Canal Spinal", "Spinalkanal"),
    "CaudaEquina": ("Cauda Equina", "Cauda"),
    # head
    "Brain": ("Whole Brain", "Gehirn", "Hirn", "Cerveau"),
    "Brainstem": ("Brain Stem", "Hirnstamm", "Tronc cérébral"),
    "OpticChiasm": ("Chiasm", "Optic Chiasm", "Chiasma", "Chiasma opticum"),
    "Pituitary": ("Pituitary Gland", "Hypophysis", "Hypophyse"),
    # neck
    "Parotids": ("Parotid Both", "Both Parotids", "Parotid Total", "Parotids Total"),
    "Cavity_Oral": ("Oral Cavity", "OralCavity", "Mundhöhle"),
    "Larynx": ("Kehlkopf",),
    "Bone_Mandible": ("Mandible", "Mandibula", "Unterkiefer"),
    "Musc_Constrict": (
        "Pharyngeal Constrictor",
        "Pharyngeal Constrictors",
        "Constrictors",
        "Pharynx Constrictor",
        "PharynxConst",
    ),
    "Glnd_Thyroid": ("Thyroid", "Thyroid Gland", "Schilddrüse"),
    "Lips": ("Lip", "Lippen"),
    # chest
    "Lungs": (
        "Lung Total",
        "Lungs Total",
        "Total Lung",
        "Lung Both",
        "Both Lungs",
        "Lungs Both",
        "Lung All",
        "Bilateral Lungs",
    ),
    "Heart": ("Herz", "Coeur"),
    "A_LAD": ("LAD", "LAD Artery", "Coronary LAD"),
    "Esophagus": ("Oesophagus", "Ösophagus", "Speiseröhre"),
    "Trachea": ("Luftröhre",),
    "GreatVes": ("Great Vessels",),
    "Chestwall": ("Chest Wall", "Thoraxwand"),
    # abdomen
    "Liver": ("Leber", "Foie"),
    "Stomach": ("Magen", "Estomac"),
    "Duodenum": (),
    "Pancreas": ("Pankreas",),
    "Spleen": ("Milz",),
    "Kidneys": ("Kidney Both", "Both Kidneys", "Kidney Total", "Kidneys Total", "Nieren"),
}
"""Names without a side."""

_PAIRED: dict[str, tuple[str, ...]] = {
    "Femur_Head": ("Femoral_head", "Fem Head", "FH", "Hüftkopf"),
    "OpticNrv": ("Optic Nerve", "Opticus", "Sehnerv"),
    "Eye": ("Eyeball", "Globe", "Auge"),
    "Lens": ("Linse",),
    "Cochlea": ("Cochlear",),
    "Hippocampus": (),
    "Lobe_Temporal": ("Temporal Lobe", "Temporallobe"),
    "Glnd_Lacrimal": ("Lacrimal", "Lacrimal Gland"),
    "Parotid": ("Parotis", "Parotid Gland"),
    "Glnd_Submand": ("Submandibular", "Submandibular Gland", "Submand", "SMG"),
    "BrachialPlex": ("Brachial Plexus", "BrachialPlexus"),
    "Lung": ("Lunge",),
    "Breast": ("Mamma", "Sein"),
    "Kidney": ("Niere",),
}
"""Names to which ``_L`` or ``_R`` is added."""


def _with_side(bases: Iterable[str], side: str) -> tuple[str, ...]:
    """Every base with every way of writing a side, before and behind it: 'Left Lung', 'Lung Lt', 'Lung_L'."""
    return tuple(form for base in bases for word in _SIDES[side] for form in (f"{base} {word}", f"{word} {base}"))


_ONE_SIDE_ONLY: dict[str, tuple[str, ...]] = {"Femur_Head_L": ("Femur L",), "Femur_Head_R": ("Femur R",)}

SYNONYMS: dict[str, tuple[str, ...]] = _SINGLE | {
    (sided := f"{name}_{side}"): (*_with_side((name, *others), side), *_ONE_SIDE_ONLY.get(sided, ()))
    for side in _SIDES
    for name, others in _PAIRED.items()
}

"""Defined terms and enumerated values of the RT IODs that we write (DICOM PS3.3 C.8.8); nothing else lives here."""

from __future__ import annotations

from enum import StrEnum


class DoseUnitsValues(StrEnum):
    """Dose Units (3004,0002)."""

    GY = "GY"


class DoseTypeValues(StrEnum):
    """Dose Type (3004,0004)."""

    PHYSICAL = "PHYSICAL"
    ERROR = "ERROR"  # difference between desired and planned dose
    EFFECTIVE = "EFFECTIVE"  # RBE-weighted: the standard's word for "corrected for biological effect"


class DoseSummationTypeValues(StrEnum):
    """Dose Summation Type (3004,000A)."""

    PLAN = "PLAN"  # all fraction groups of the plan: total over all fractions
    MULTI_PLAN = "MULTI_PLAN"
    FRACTION = "FRACTION"  # one fraction group
    BEAM = "BEAM"


class DVHTypeValues(StrEnum):
    """DVH Type (3004,0001)."""

    CUMULATIVE = "CUMULATIVE"


class DVHVolumeUnitsValues(StrEnum):
    """DVH Volume Units (3004,0054)."""

    CM3 = "CM3"


class DVHROIContributionTypeValues(StrEnum):
    """DVH ROI Contribution Type (3004,0062)."""

    INCLUDED = "INCLUDED"


class ApprovalStatusValues(StrEnum):
    """Approval Status (300E,0002); no result of ours is ever anything else."""

    UNAPPROVED = "UNAPPROVED"


class PlanIntentValues(StrEnum):
    """Plan Intent (300A,000A)."""

    RESEARCH = "RESEARCH"


class RTPlanGeometryValues(StrEnum):
    """RT Plan Geometry (300A,000C)."""

    PATIENT = "PATIENT"


class DoseReferenceStructureTypeValues(StrEnum):
    """Dose Reference Structure Type (300A,0014)."""

    VOLUME = "VOLUME"
    SITE = "SITE"


class RangeShifterTypeValues(StrEnum):
    """Range Shifter Type (300A,0320)."""

    BINARY = "BINARY"


class RangeShifterSettingValues(StrEnum):
    """Range Shifter Setting (300A,0362) of a binary range shifter."""

    IN = "IN"


class DoseReferenceTypeValues(StrEnum):
    """Dose Reference Type (300A,0020)."""

    TARGET = "TARGET"


class BeamTypeValues(StrEnum):
    """Beam Type (300A,00C4)."""

    STATIC = "STATIC"
    DYNAMIC = "DYNAMIC"  # something but the meterset changes between control points


class RadiationTypeValues(StrEnum):
    """Radiation Type (300A,00C6)."""

    PROTON = "PROTON"
    PHOTON = "PHOTON"


class ScanModeValues(StrEnum):
    """Scan Mode (300A,0308)."""

    MODULATED = "MODULATED"


class ModulatedScanModeTypeValues(StrEnum):
    """Modulated Scan Mode Type (300A,0309)."""

    STATIONARY = "STATIONARY"  # each spot is delivered at rest, as the dose engine simulates it


class TreatmentDeliveryTypeValues(StrEnum):
    """Treatment Delivery Type (300A,00CE)."""

    TREATMENT = "TREATMENT"


class PrimaryDosimeterUnitValues(StrEnum):
    """Primary Dosimeter Unit (300A,00B3)."""

    MU = "MU"


class PatientSupportTypeValues(StrEnum):
    """Patient Support Type (300A,0350)."""

    TABLE = "TABLE"


class RotationDirectionValues(StrEnum):
    """Gantry, collimator and support rotation directions."""

    NONE = "NONE"
    CLOCKWISE = "CW"
    COUNTER_CLOCKWISE = "CC"


class RTBeamLimitingDeviceTypeValues(StrEnum):
    """RT Beam Limiting Device Type (300A,00B8)."""

    ASYMX = "ASYMX"
    ASYMY = "ASYMY"
    MLCX = "MLCX"


class FluenceModeValues(StrEnum):
    """Fluence Mode (3002,0051)."""

    STANDARD = "STANDARD"
    NON_STANDARD = "NON_STANDARD"


class ConversionTypeValues(StrEnum):
    """Conversion Type (0008,0064)."""

    WORKSTATION = "WSD"


class BurnedInAnnotationValues(StrEnum):
    """Burned In Annotation (0028,0301)."""

    YES = "YES"


class VerificationFlagValues(StrEnum):
    """Verification Flag (0040,A493); no report of ours is ever anything else."""

    UNVERIFIED = "UNVERIFIED"


class MIMETypeValues(StrEnum):
    """MIME Type of Encapsulated Document (0042,0012)."""

    PDF = "application/pdf"

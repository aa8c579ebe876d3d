"""Preparing a patient for planning: derived structures, and densities other than the CT's."""

from __future__ import annotations

from collections.abc import Mapping

from radiarch_contract.derived import leaves
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import DoseParameters, Prescription, WorkflowParameters

from radiarch_worker.engines import mcsquare
from radiarch_worker.model import Patient

from .derived import add_derived
from .materials import states_material
from .overrides import override_densities


def prepare(
    patient: Patient, structures: Mapping[str, StructureRef], parameters: WorkflowParameters
) -> tuple[Patient, Mapping[str, StructureRef]]:
    """The patient that is planned on, or evaluated, as the parameters describe it, and what each name stands for.

    Raises
    ------
    InvalidRequestError
        A derived structure's definition or an override that cannot be used.
    InputRefusedError
        What the structure set says of a ROI's material cannot be used.
    """
    made = add_derived(patient, structures, parameters.derived)
    if not isinstance(parameters, DoseParameters):
        return made.patient, made.structures
    if not parameters.overrides and not states_material(patient):
        return made.patient, made.structures
    calibration = mcsquare.calibration_for(parameters.ct_calibration, patient.ct)
    overrides = parameters.overrides
    return override_densities(made.patient, made.structures, overrides, calibration), made.structures


def overridden_rois(structures: Mapping[str, StructureRef], parameters: WorkflowParameters) -> tuple[int, ...]:
    """Numbers of the ROIs whose density is overridden."""
    if not isinstance(parameters, DoseParameters):
        return ()
    names = leaves([o.structure for o in parameters.overrides], parameters.derived)
    return tuple(structures[name].roi_number for name in names if name in structures)


def needed_rois(
    prescription: Prescription | None, structures: Mapping[str, StructureRef], parameters: WorkflowParameters
) -> tuple[int, ...]:
    """Numbers of the ROIs without which a plan cannot be made: the targets', or those that they are derived from."""
    if prescription is None:
        return ()
    names = leaves([t.target for t in prescription.targets], parameters.derived)
    return tuple(structures[name].roi_number for name in names if name in structures)

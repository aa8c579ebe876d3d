"""The patient as photon engines take it: density on the dose grid, of CT numbers by the calibration."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from radiarch_worker.engines import mcsquare
from radiarch_worker.model import FloatVolume, Grid, Patient
from radiarch_worker.planning.geometry import sample_mask, sample_mean


def patient_density(
    patient: Patient, ct: mcsquare.EngineCt, calibration: mcsquare.Calibration, grid: Grid
) -> FloatVolume:
    """(Z, Y, X) g/cm³ on ``grid``, the mean over each voxel; 0 beyond the voxels next to BODY's.

    Voxels beside BODY's hold some of the patient: without them dose would be wrong at the surface. Planning and
    recalculation take the same, so that a plan's dose is found again.
    """
    table = calibration.density
    density = np.interp(ct.hu, table[:, 0], table[:, 1]).astype(np.float32)
    found = sample_mean(density, ct.grid, grid)
    found[~ndimage.binary_dilation(sample_mask(patient.body.mask, patient.ct.grid, grid))] = 0.0
    return found

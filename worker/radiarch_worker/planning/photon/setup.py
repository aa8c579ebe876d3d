"""What is known before apertures are optimised: machine, densities, dose grid, and how beams see the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.photon import OptimizedPhotonParameters
from radiarch_contract.states import Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription

from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.engines.collapsedcone.plan import FILE_MODES
from radiarch_worker.engines.photonkernels import Spectrum, beam_quality
from radiarch_worker.engines.photonpencil import BeamView, FluenceGrid, PencilBeams, PencilModel
from radiarch_worker.machines.photon_machine import PhotonEnergy, PhotonMachine, photon_machine
from radiarch_worker.model import BoolVolume, FloatVolume, Grid, Patient, Reporter, Structure, Vector3
from radiarch_worker.optimization import DoseTerm
from radiarch_worker.patient.body import known_extent_mm
from radiarch_worker.photon import FluenceMode
from radiarch_worker.planning.clock import Clock
from radiarch_worker.planning.geometry import ScoringLattice, center_of_mass_mm, sample_mask, voxel_points_mm
from radiarch_worker.planning.raytrace import depth_to_points
from radiarch_worker.planning.structures import require_target, united
from radiarch_worker.planning.targets import require_dose_voxels

from .conformal import fitted
from .density import patient_density
from .leaves import Aperture, Head
from .problem import ApertureProblem, dose_of_one_mu

CELL_MM = 2.5
_BESIDE_MM = 40.0
"""Beyond the outermost leaves to where pencil beams are followed."""
_RAYS_CHECKED = 400
_TARGET_VOXELS, _OTHER_VOXELS = 20_000, 12_000
"""Most voxels of a structure that objectives look at; of more, so many are drawn."""


@dataclass(frozen=True)
class PhotonJob:
    """One plan to be made."""

    patient: Patient
    prescription: Prescription
    parameters: OptimizedPhotonParameters
    structures: Mapping[str, StructureRef]
    reporter: Reporter
    job_dir: Path
    threads: int
    cache: ArrayCache | None = None
    goals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Direction:
    """From where the target is irradiated; IEC 61217, degrees."""

    gantry_deg: float
    couch_deg: float
    collimator_deg: float


@dataclass(frozen=True)
class Setup:
    """What is known before beams are looked at.

    Attributes
    ----------
    density : (Z, Y, X) on ``dose_grid``, g/cm³, in the mean over each voxel; 0 outside of BODY
    targets : in the prescription's order
    target : all of them together
    """

    job: PhotonJob
    machine: PhotonMachine
    energy: PhotonEnergy
    calibration: mcsquare.Calibration
    density: FloatVolume
    targets: tuple[Structure, ...]
    target: Structure
    dose_grid: Grid
    isocenter_mm: Vector3
    clock: Clock
    notes: tuple[str, ...]

    def on(self, mask: BoolVolume, grid: Grid) -> BoolVolume:
        """A structure's mask on a dose grid."""
        return sample_mask(mask, self.job.patient.ct.grid, grid)

    def axes(self, direction: Direction) -> BeamAxes:
        position = self.job.patient.ct.patient_position
        return BeamAxes.of(direction.gantry_deg, direction.couch_deg, position).collimated(direction.collimator_deg)


class GridRows:
    """Rows that are the flat indices of all voxels of the dose grid."""

    def rows(self, mask: BoolVolume) -> npt.NDArray[np.intp]:
        return np.flatnonzero(mask)


def set_up(job: PhotonJob) -> Setup:
    """Machine, densities and dose grid.

    Raises
    ------
    InputRefusedError, InvalidRequestError
    """
    clock = Clock()
    parameters, patient = job.parameters, job.patient
    job.reporter.stage(Stage.BUILDING_PLAN, "densities and dose grid")
    with clock.stage(Stage.BUILDING_PLAN):
        machine = photon_machine(parameters.machine)
        energy = machine.energy(parameters.energy_mv, FILE_MODES[FluenceMode(parameters.fluence)])
        if not machine.file.mlc.interdigitation:
            raise InputRefusedError(
                f"the leaves of machine {machine.name} must not interdigitate, which is not optimised for",
                remedy="Plan for a machine whose leaves may pass those of neighboring pairs.",
                code=ErrorCode.UNSUPPORTED_GEOMETRY,
            )
        calibration = mcsquare.calibration_for(parameters.ct_calibration, patient.ct)
        targets = tuple(require_target(patient, job.structures, t.target) for t in job.prescription.targets)
        target = united(targets)
        lattice = ScoringLattice.of(patient.ct.grid, parameters.scoring_spacing_mm, patient.body.mask)
        dose_grid = lattice.grid(patient.body.mask)
        require_dose_voxels(targets, patient.ct.grid, dose_grid, patient.body.mask)
        ct = mcsquare.prepare_ct(patient.ct, patient.body, calibration, cover=dose_grid)
        density = patient_density(patient, ct, calibration, dose_grid)
        isocenter = parameters.isocenter_mm or center_of_mass_mm(target.mask, patient.ct.grid)
    return Setup(
        *(job, machine, energy, calibration, density, targets, target, dose_grid, isocenter, clock),
        (*machine.notes, *ct.notes),
    )


@dataclass(frozen=True)
class Beams:
    """The optimiser's view of a plan.

    Attributes
    ----------
    outlines : for each direction, what leaves may open
    voxels : (points,) flat indices in the dose grid of the problem's points
    """

    problem: ApertureProblem
    outlines: tuple[Aperture, ...]
    voxels: npt.NDArray[np.intp]


def look(setup: Setup, directions: Sequence[Direction], terms: Sequence[DoseTerm]) -> Beams:
    """How all directions see the target, and depths of all points that objectives look at.

    Parameters
    ----------
    terms : their rows are flat indices of the dose grid
    """
    job = setup.job
    job.reporter.stage(Stage.COMPUTING_BEAMLETS, f"depths from {len(directions)} directions")
    with setup.clock.stage(Stage.COMPUTING_BEAMLETS):
        kept, voxels = _sampled(setup, terms)
        grid = setup.dose_grid
        index = np.stack(np.unravel_index(voxels, grid.shape), axis=1)[:, ::-1]
        points = np.asarray(grid.origin_mm) + index * np.asarray(grid.spacing_mm)
        outlines = tuple(_outline(setup, d) for d in directions)
        distance_mm = setup.machine.file.source_axis_distance_mm
        views = []
        for number, direction in enumerate(directions, start=1):
            axes = setup.axes(direction)
            source = axes.source_mm(setup.isocenter_mm, distance_mm)
            along = (axes.direction, axes.x, axes.y)
            views.append(BeamView.through(setup.density, grid, points, source, along, job.threads))
            job.reporter.progress(number / len(directions))
        reach = max(abs(v) for o in outlines for v in (*o.x_mm, *o.y_mm)) + _BESIDE_MM
        cells = FluenceGrid(CELL_MM, 2 * int(np.ceil(reach / CELL_MM)))
        head = Head(setup.machine.file, cells)
        beams = PencilBeams(_model(setup), cells, points, tuple(views), job.threads)
        unit = setup.energy.calibration.gy_per_mu / dose_of_one_mu(head, setup.energy, beams)
        problem = ApertureProblem(
            *(beams, head, unit * job.prescription.fractions, kept, np.zeros(len(points), dtype=np.float32))
        )
    return Beams(problem, outlines, voxels)


def _outline(setup: Setup, direction: Direction) -> Aperture:
    axes, file = setup.axes(direction), setup.machine.file
    points = voxel_points_mm(setup.target.mask, setup.job.patient.ct.grid)
    _require_known_tissue(setup, direction, axes, points)
    seen = axes.project_mm(points, setup.isocenter_mm, file.source_axis_distance_mm)
    found = fitted(seen, setup.job.parameters.target_margin_mm, file)
    span = found.x_mm[1] - found.x_mm[0]
    if span > file.mlc.span_mm:
        raise InputRefusedError(
            f"from gantry {direction.gantry_deg:g}°, collimator {direction.collimator_deg:g}°, the target is "
            f"{span:.0f} mm wide along the leaves; tips of one bank of machine {setup.machine.name} are at most "
            f"{file.mlc.span_mm:g} mm apart",
            remedy="Turn the collimator, or use a smaller target margin.",
            code=ErrorCode.UNSUPPORTED_GEOMETRY,
        )
    return found


def _require_known_tissue(
    setup: Setup, direction: Direction, axes: BeamAxes, target_mm: npt.NDArray[np.float64]
) -> None:
    """Refuse beams that reach the target through what was not scanned."""
    patient = setup.job.patient
    some = target_mm[:: max(1, len(target_mm) // _RAYS_CHECKED)]
    way = some - axes.source_mm(setup.isocenter_mm, setup.machine.file.source_axis_distance_mm)
    known = known_extent_mm(patient.ct, patient.body.mask)
    body = setup.on(patient.body.mask, setup.dose_grid)
    towards = way / np.linalg.norm(way, axis=1)[:, None]
    _, unscanned = depth_to_points(setup.density, body, setup.dose_grid, known, some, towards)
    if unscanned.any():
        raise InputRefusedError(
            f"from gantry {direction.gantry_deg:g}°, couch {direction.couch_deg:g}°, the beam enters the patient "
            f"through the edge of the CT, or the end of BODY where the patient goes on: for "
            f"{100 * unscanned.mean():.0f} % of its rays tissue is not known",
            remedy="Choose other angles, or a CT and a BODY that cover the patient where the beam enters.",
            code=ErrorCode.UNSUPPORTED_GEOMETRY,
        )


def _sampled(setup: Setup, terms: Sequence[DoseTerm]) -> tuple[tuple[DoseTerm, ...], npt.NDArray[np.intp]]:
    """Terms on some of their voxels, and these voxels; a term's value is a mean, so that its weight stays."""
    rng = np.random.default_rng(setup.job.parameters.seed)
    order = rng.permutation(int(np.prod(setup.dose_grid.shape)))
    names = {t.target for t in setup.job.prescription.targets}
    chosen = []
    for term in terms:
        most = _TARGET_VOXELS if term.name in names else _OTHER_VOXELS
        rows = term.rows
        if len(rows) > most:
            rows = np.sort(rows[np.argsort(order[rows])[:most]])
        chosen.append(rows)
    voxels = np.unique(np.concatenate(chosen))
    kept = tuple(t.with_rows(np.searchsorted(voxels, r)) for t, r in zip(terms, chosen, strict=True))
    return kept, voxels


def _model(setup: Setup) -> PencilModel:
    """The machine's beam in the isocenter plane; what electrons of the head add is left to the collapsed cone."""
    energy, file = setup.energy, setup.machine.file
    axis_mm, leaves_mm = file.source_axis_distance_mm, file.mlc.distance_mm
    wide = energy.extra_focal
    magnified = (axis_mm - leaves_mm) / leaves_mm
    # what is nearest to the source hides most of what is behind it: jaws that follow the leaves
    nearest_mm = min((j.distance_mm for j in (file.jaws_x, file.jaws_y) if j is not None), default=leaves_mm)
    spectrum = Spectrum(tuple(e for e, _ in energy.spectrum), tuple(n for _, n in energy.spectrum))
    return PencilModel(
        beam_quality(spectrum),
        axis_mm,
        (energy.source_spot_mm[0] * magnified, energy.source_spot_mm[1] * magnified),
        wide.share,
        wide.sigma_mm * (axis_mm - nearest_mm) / (axis_mm - wide.distance_mm) * axis_mm / nearest_mm,
        energy.off_axis,
    )

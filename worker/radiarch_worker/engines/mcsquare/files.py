"""MCsquare's files and its coordinates: CT, plan and configuration written, dose and headers read; nothing is run.

The engine counts its CT from a corner, in millimetres, along (x, -y, z) of the LPS of a patient head first supine
(`turn` makes any patient one); arrays lie on disk with x and y reversed, x fastest. Everything outside this folder is
patient LPS, (Z, Y, X).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import EngineError, ErrorCode

from radiarch_worker.engines import opentps
from radiarch_worker.ion import RangeShifter
from radiarch_worker.model import FloatVolume, Grid, Vector3

from .spots import SpotPlan
from .turn import Turn

CT_FILE, PLAN_FILE, BDL_FILE, CONFIG_FILE = "ct.mhd", "plan.txt", "bdl.txt", "config.txt"
DENSITY_FILE, MATERIAL_FILE, MATERIALS_FOLDER, OUTPUT_FOLDER = "density.txt", "material.txt", "Materials", "Outputs"


def write_ct(hu: FloatVolume, grid: Grid, folder: Path) -> None:
    """``ct.mhd`` and ``ct.raw`` of a CT that was turned."""
    nz, ny, nx = grid.shape
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "DimSize": f"{nx} {ny} {nz}",
        "ElementSpacing": _numbers(grid.spacing_mm),
        "Offset": _numbers(engine_corner_mm(grid)),
        "ElementType": "MET_FLOAT",
        "ElementByteOrderMSB": "False",
        "ElementDataFile": "ct.raw",
    }
    np.ascontiguousarray(hu[:, ::-1, ::-1], dtype="<f4").tofile(folder / "ct.raw")
    (folder / CT_FILE).write_text("".join(f"{k} = {v}\n" for k, v in header.items()))


def engine_corner_mm(grid: Grid) -> Vector3:
    """The grid's first corner in the engine's frame."""
    (x, y, z), (dx, dy, dz), (_, ny, _) = grid.origin_mm, grid.spacing_mm, grid.shape
    return (x - dx / 2, -y - dy * ny + dy / 2, z - dz / 2)


def engine_isocenter_mm(isocenter_mm: Vector3, ct: Grid) -> Vector3:
    """A point of patient LPS, counted from the engine's corner of the CT."""
    corner = engine_corner_mm(ct)
    return (isocenter_mm[0] - corner[0], -isocenter_mm[1] - corner[1], isocenter_mm[2] - corner[2])


def plan_text(plan: SpotPlan, weights_mu: npt.NDArray[np.float64], ct: Grid) -> str:
    """The plan file, of a plan and grid that were turned; ``weights_mu`` in the plan's order of spots."""
    total = float(weights_mu.sum())
    lines = ["#TREATMENT-PLAN-DESCRIPTION", "#PlanName", "plan", "#NumberOfFractions", "1", "##FractionID", "1"]
    lines += ["##NumberOfFields", str(len(plan.beams))]
    for i in range(len(plan.beams)):
        lines += ["###FieldsID", str(i + 1)]
    lines += ["#TotalMetersetWeightOfAllFields", f"{total:.9g}"]
    at = 0
    final = 0.0
    for i, beam in enumerate(plan.beams):
        count = sum(len(layer) for layer in beam.layers)
        final += float(weights_mu[at : at + count].sum())
        lines += ["", "#FIELD-DESCRIPTION", "###FieldID", str(i + 1)]
        lines += ["###FinalCumulativeMeterSetWeight", f"{final:.9g}"]
        lines += ["###GantryAngle", f"{beam.gantry_deg:.6f}", "###PatientSupportAngle", f"{beam.couch_deg:.6f}"]
        lines += ["###IsocenterPosition", _numbers(engine_isocenter_mm(beam.isocenter_mm, ct), "\t ")]
        shifter = beam.range_shifter
        if shifter is not None:
            lines += ["###RangeShifterID", shifter.id, "###RangeShifterType", "binary"]
        lines += ["###NumberOfControlPoints", str(len(beam.layers)), "", "#SPOTS-DESCRIPTION"]
        cumulative = 0.0
        for j, layer in enumerate(beam.layers):
            weights = weights_mu[at : at + len(layer)]
            at += len(layer)
            cumulative += float(weights.sum())
            lines += ["####ControlPointIndex", str(j + 1), "####SpotTunnedID", "1"]
            lines += ["####CumulativeMetersetWeight", f"{cumulative:.9g}"]
            lines += ["####Energy (MeV)", f"{layer.energy_mev:.6f}", *_shifter_lines(shifter)]
            lines += ["####NbOfScannedSpots", str(len(layer))]
            lines += ["####X Y Weight"]
            lines += [f"{x:.6f} {y:.6f} {w:.9g}" for x, y, w in zip(layer.x_mm, layer.y_mm, weights, strict=True)]
    return "\n".join(lines) + "\n"


def _shifter_lines(shifter: RangeShifter | None) -> list[str]:
    if shifter is None:
        return []
    return [
        *("####RangeShifterSetting", "IN"),
        *("####IsocenterToRangeShifterDistance", f"{shifter.isocenter_distance_mm:.6f}"),
        *("####RangeShifterWaterEquivalentThickness", f"{shifter.water_equivalent_mm:.6f}"),
    ]


def config_text(scoring: Grid, *, primaries: int, seed: int, extra: Mapping[str, Any]) -> str:
    """``config.txt``, from OpenTPS's own template and defaults, for one thread and relative paths."""
    config: Any = opentps.load("data.MCsquare").MCsquareConfig()
    # The engine's configuration is in centimetres.
    values: dict[str, Any] = {
        "Num_Threads": 1,  # MCsquare repeats itself bit for bit on one thread only
        "RNG_Seed": seed,
        "Num_Primaries": primaries,
        # The engine leaves delta electrons where they are made, so that above which energy (MeV) it makes them one by
        # one changes only how energy straggling is drawn. 0.5 is about the most that protons of these energies can
        # give, and makes it 1.6 times as fast as its default 0.05, with the same range, peak and dose (tested).
        "Te_Min": 0.5,
        "CT_File": CT_FILE,
        "HU_Density_Conversion_File": DENSITY_FILE,
        "HU_Material_Conversion_File": MATERIAL_FILE,
        "BDL_Machine_Parameter_File": BDL_FILE,
        "BDL_Plan_File": PLAN_FILE,
        "Output_Directory": OUTPUT_FOLDER,
        "Compute_stat_uncertainty": False,
        "Dose_to_Water_conversion": "OnlineSPR",
        "Independent_scoring_grid": True,
        "Scoring_origin": [f"{v / 10:.8g}" for v in engine_corner_mm(scoring)],
        "Scoring_grid_size": list(reversed(scoring.shape)),
        "Scoring_voxel_spacing": [f"{v / 10:.8g}" for v in scoring.spacing_mm],
        **extra,
    }
    for key, value in values.items():
        config[key] = value
    return str(config.mcsquareFormatted())


def read_dose(folder: Path, scoring: Grid, turn: Turn, *, may_be_zero: bool = False) -> npt.NDArray[np.float32]:
    """``Dose.mhd`` of one run, checked against the grid that was asked for.

    Parameters
    ----------
    scoring : patient LPS
    turn : how the patient was turned for the engine
    may_be_zero : whether it may be zero everywhere, as of a beam that misses the patient

    Returns
    -------
    (Z, Y, X) float32, eV/g per primary, patient LPS

    Raises
    ------
    EngineError
        ``engine_output_invalid``, when the file is missing, of another grid, or holds nonsense.
    """
    dose = _read_volume(folder, "Dose", scoring, turn)
    if not may_be_zero and float(dose.max()) <= 0.0:
        raise invalid_output("the dose is zero everywhere")
    return dose


LET_ROUNDING_KEV_UM = 0.05
"""Less negative than this is rounding: a tenth of the least LET that a therapeutic proton has in water (0.4 keV/um)."""


def read_let(folder: Path, scoring: Grid, turn: Turn) -> npt.NDArray[np.float32]:
    """``LET.mhd`` of one run: dose-averaged over all protons, keV/um; 0 where none was scored. As `read_dose`.

    The engine scores a difference of energies over a step. In air, where a step loses next to nothing, rounding leaves
    tiny negative values: they are 0.
    """
    return _read_volume(folder, "LET", scoring, turn, rounding=LET_ROUNDING_KEV_UM)


def _read_volume(
    folder: Path, name: str, scoring: Grid, turn: Turn, *, rounding: float = 0.0
) -> npt.NDArray[np.float32]:
    header = _read_header(folder / f"{name}.mhd")
    turned = turn.grid(scoring)
    nz, ny, nx = turned.shape
    expected = {"DimSize": (nx, ny, nz), "ElementSpacing": turned.spacing_mm, "Offset": engine_corner_mm(turned)}
    check_header(header, expected, f"{name}.mhd")
    if header.get("ElementType") != "MET_FLOAT" or header.get("ElementDataFile") != f"{name}.raw":
        raise invalid_output(f"{name}.mhd says {header.get('ElementType')} in {header.get('ElementDataFile')}")
    raw = folder / f"{name}.raw"
    if not raw.is_file() or raw.stat().st_size != 4 * nx * ny * nz:
        raise invalid_output(f"{name}.raw is missing or not {4 * nx * ny * nz} bytes long")
    values = np.fromfile(raw, dtype="<f4").reshape(nz, ny, nx)[:, ::-1, ::-1]
    if not np.isfinite(values).all() or float(values.min()) < -rounding:
        raise invalid_output(f"{name}.raw holds values that are negative or not finite")
    return np.ascontiguousarray(turn.back(np.maximum(values, np.float32(0))))


def _read_header(path: Path) -> dict[str, str]:
    if not path.is_file() or path.stat().st_size > 10_000:
        raise invalid_output(f"{path.name} was not written")
    return read_pairs(path.read_text("ascii", "replace"))


def read_pairs(text: str) -> dict[str, str]:
    """``key = value`` lines; later ones win, comments are skipped."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip() for key, sep, value in pairs if sep}


def check_header(header: Mapping[str, str], expected: Mapping[str, tuple[float, ...]], name: str) -> None:
    """Compare what a header says with what was asked; the engine writes 6 decimals."""
    for key, wanted in expected.items():
        try:
            found = tuple(float(v) for v in header[key].split())
        except (KeyError, ValueError):
            raise invalid_output(f"{name} has no readable {key}") from None
        if len(found) != len(wanted) or not np.allclose(found, wanted, rtol=0, atol=2e-3):
            raise invalid_output(f"{name} has {key} {found}, expected {wanted}")


def invalid_output(message: str) -> EngineError:
    return EngineError(
        f"MCsquare: {message}",
        remedy="See the job's log for the engine's own words; try again, then report it with the log.",
        code=ErrorCode.ENGINE_OUTPUT_INVALID,
    )


def _numbers(values: tuple[float, ...], separator: str = " ") -> str:
    return separator.join(f"{v:.6f}" for v in values)

"""Reads the mono-energetic point kernels that opentps-core ships, and hashes what it has read."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import EngineError, ErrorCode

FloatArray = npt.NDArray[np.float64]

FOLDER = "core/processing/doseCalculation/photons/Kernels_6MV"
_REMEDY = "Install the worker with its extra: pip install 'radiarch[worker]' (opentps-core==2.0.0)."
_ORDERS = ("primary", "first_scatter", "second_scatter", "multiple_scatter", "brem_annih")
_AXES = ("energies", "angles", "radii", "fluence", "mu", "mu_en")


@dataclass(frozen=True)
class PointKernels:
    """Where the energy goes that photons of one energy release at a point in water of 1 g/cm³; arrays are read-only.

    Attributes
    ----------
    energies_mev : (E,)
    angles_deg : (A,) outer edges of the cones about the photon's direction, the first from 0
    radii_mm : (R,) outer radii of the shells, the first from 0
    total : (E, A, R) share of the released energy that stays in cone and shell; the rest goes beyond the last shell
    primary : (E, A, R) the part of it that the first interaction's electrons bring
    attenuation_cm2_g, absorption_cm2_g : (E,) mass attenuation and energy absorption coefficients
    photons : (E,) the spectrum that ships beside the kernels, relative numbers
    sha256 : of each file that was read, by its name
    source : package and version
    """

    energies_mev: FloatArray
    angles_deg: FloatArray
    radii_mm: FloatArray
    total: FloatArray
    primary: FloatArray
    attenuation_cm2_g: FloatArray
    absorption_cm2_g: FloatArray
    photons: FloatArray
    sha256: Mapping[str, str]
    source: str

    @property
    def digest(self) -> str:
        """One hash of all files, for provenance."""
        return hashlib.sha256("".join(f"{n} {h}\n" for n, h in sorted(self.sha256.items())).encode()).hexdigest()


@functools.cache
def point_kernels() -> PointKernels:
    """The kernels of the installed opentps-core, which is not imported.

    Raises
    ------
    EngineError
        ``engine_missing``: the package or one of its files is not there, or a file is not what its header says.
    """
    spec = importlib.util.find_spec("opentps")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / FOLDER
        if folder.is_dir():
            return read_kernels(folder, f"opentps-core {importlib.metadata.version('opentps-core')}")
    raise EngineError("opentps-core's photon kernels are not installed", remedy=_REMEDY, code=ErrorCode.ENGINE_MISSING)


def read_kernels(folder: Path, source: str) -> PointKernels:
    """Read a folder of kernels as OpenTPS has them: little-endian float32, (energy, angle, radius).

    Raises
    ------
    EngineError
        As `point_kernels`.
    """
    hashes: dict[str, str] = {}
    radii, angles, energies = _header(folder, hashes)
    sizes = {"angles": angles, "radii": radii}
    axes = {name: _values(folder, name, (sizes.get(name, energies),), hashes) for name in _AXES}
    parts = {name: _values(folder, name, (energies, angles, radii), hashes) for name in _ORDERS}
    for name in ("energies", "angles", "radii"):
        if not (axes[name][0] > 0 and (np.diff(axes[name]) > 0).all()):
            raise _wrong(folder / f"{name}.bin", "does not rise")
    total = sum(parts.values(), np.zeros((energies, angles, radii)))
    if not (total.min() >= 0 and total.sum(axis=(1, 2)).min() > 0.5 and total.sum(axis=(1, 2)).max() < 1.001):
        raise _wrong(folder, "has kernels that do not give shares of the released energy")
    return PointKernels(
        _frozen(axes["energies"]),
        _frozen(axes["angles"]),
        _frozen(10.0 * axes["radii"]),  # cm
        _frozen(total),
        _frozen(parts["primary"]),
        _frozen(axes["mu"]),
        _frozen(axes["mu_en"]),
        _frozen(axes["fluence"] / axes["fluence"].sum()),
        hashes,
        source,
    )


def _header(folder: Path, hashes: dict[str, str]) -> tuple[int, int, int]:
    path = folder / "kernel_header.txt"
    try:
        data = path.read_bytes()
        radii, angles, energies = map(int, data.decode("ascii").split()[3:])
    except (OSError, ValueError) as e:
        raise _wrong(path, f"cannot be read: {e}") from None
    hashes[path.name] = hashlib.sha256(data).hexdigest()
    return radii, angles, energies


def _values(folder: Path, name: str, shape: tuple[int, ...], hashes: dict[str, str]) -> FloatArray:
    path = folder / f"{name}.bin"
    try:
        data = path.read_bytes()
    except OSError as e:
        raise _wrong(path, f"cannot be read: {e.strerror}") from None
    if len(data) != 4 * int(np.prod(shape)):
        raise _wrong(path, f"has {len(data)} bytes, expected {4 * int(np.prod(shape))}")
    hashes[path.name] = hashlib.sha256(data).hexdigest()
    values = np.frombuffer(data, dtype="<f4").astype(np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise _wrong(path, "has values that are no numbers")
    return values


def _frozen(values: FloatArray) -> FloatArray:
    values.setflags(write=False)
    return values


def _wrong(path: Path, what: str) -> EngineError:
    return EngineError(
        f"opentps-core's photon kernels: {path.name} {what}", remedy=_REMEDY, code=ErrorCode.ENGINE_MISSING
    )

"""Which calibrations and machines there are, shipped and of the site, and which calibration a CT's scanner has."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError
from radiarch_contract.near import suggestion
from radiarch_contract.yaml_file import Problem

from radiarch_worker.model import Scanner
from radiarch_worker.site_folders import site_folders

from .calibration import AUTO, GENERIC, CalibrationTables
from .calibration_file import SiteCalibration, read_calibration
from .machine_file import MachineDescription, check_beam_data, read_description
from .site_file import UnusableFileError, is_photon_machine

_GENERIC_FILE = Path(__file__).with_name("generic-icru.yaml")
MACHINE_NAME = r"[A-Za-z0-9_-]{1,64}"
_REMEDY = "Correct the file; docs/machines.md describes the fields."


class InvalidSiteFilesError(InvalidRequestError):
    """Files of the site that cannot be used; ``details["problems"]`` has every mistake found."""

    default_code = ErrorCode.INVALID_MACHINE_DATA

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)), remedy=_REMEDY, problems=[p.details for p in problems])


@dataclass(frozen=True)
class CalibrationLibrary:
    """All calibrations.

    Attributes
    ----------
    shipped : by name, those of the engine and ours
    site : by name
    problems : mistakes in the site's files
    """

    shipped: Mapping[str, CalibrationTables]
    site: Mapping[str, SiteCalibration]
    problems: tuple[Problem, ...] = ()

    def named(self, name: str) -> CalibrationTables:
        """A calibration by its name.

        Raises
        ------
        InvalidRequestError
            There is none of that name; the known ones are named.
        InvalidSiteFilesError
            There is none, and files of the site could not be read.
        """
        if name in self.shipped:
            return self.shipped[name]
        if name in self.site:
            return self.site[name].tables
        if self.problems:
            raise InvalidSiteFilesError(self.problems)
        known = sorted([*self.shipped, *self.site])
        raise InvalidRequestError(
            f"CT calibration {name!r} is not known; known are {', '.join(known)}{suggestion(name, known)}",
            remedy=f"Name one of the known ones in the protocol or request, or {AUTO} for that of the CT's scanner.",
        )

    def of_scanners(self, scanners: Sequence[Scanner]) -> tuple[CalibrationTables, str]:
        """The calibration of the scanners that made a CT, and why it was chosen.

        The site's calibration of which most conditions hold; where none fits, the generic one.

        Raises
        ------
        InputRefusedError
            ``ambiguous_calibration``, where several fit equally well, or the CT's scanners have different ones.
        InvalidSiteFilesError
            A file of the site cannot be used: it might be the one that fits.
        """
        if self.problems:
            raise InvalidSiteFilesError(self.problems)
        seen = tuple(scanners) or (Scanner(),)
        chosen = {s: self._of_scanner(s) for s in seen}
        names = sorted({t.name for t in chosen.values()})
        if len(names) > 1:
            said = "; ".join(f"{s}: {t.name}" for s, t in chosen.items())
            raise InputRefusedError(
                f"the CT's images are of scanners with different calibrations ({said[:500]})",
                remedy="Plan on a series of one scanner and voltage, or name ct_calibration in protocol or request.",
                code=ErrorCode.AMBIGUOUS_CALIBRATION,
                calibrations=names,
            )
        tables = chosen[seen[0]]
        by = "; ".join(map(str, seen))[:300]
        if tables.name == GENERIC:
            return tables, f"no calibration of this site is for the CT's scanner ({by})"
        return tables, f"chosen by the CT's scanner ({by})"

    def _of_scanner(self, scanner: Scanner) -> CalibrationTables:
        fits = {name: n for name, c in self.site.items() if (n := c.conditions_for(scanner))}
        if not fits:
            return self.shipped[GENERIC]
        most = max(fits.values())
        best = sorted(name for name, n in fits.items() if n == most)
        if len(best) > 1:
            files = ", ".join(f"{name} ({self.site[name].file})" for name in best)
            raise InputRefusedError(
                f"{len(best)} calibrations fit the CT's scanner ({scanner}) equally well: {files}",
                remedy="Give one of them another condition under scanners (station, kvp), or name ct_calibration in "
                "protocol or request.",
                code=ErrorCode.AMBIGUOUS_CALIBRATION,
                calibrations=best,
            )
        return self.site[best[0]].tables


def calibrations(engine: Mapping[str, CalibrationTables], engine_materials: Collection[str]) -> CalibrationLibrary:
    """The calibrations as the files are now.

    Parameters
    ----------
    engine : those that an engine ships
    engine_materials : its names of materials
    """
    materials = frozenset(engine_materials)
    generic = _read(_GENERIC_FILE.name, _GENERIC_FILE.read_bytes(), materials).tables
    shipped = {**engine, generic.name: generic}
    site: dict[str, SiteCalibration] = {}
    problems: list[Problem] = []
    for path in _files(site_folders().calibrations, (".yaml", ".yml")):
        try:
            read = _with_shipped(path.name, _bytes(path), shipped, materials)
        except UnusableFileError as e:
            problems += e.problems
            continue
        name = read.tables.name
        other = site[name].file if name in site else "a calibration that ships" if name in shipped else None
        if other is not None:
            problems.append(Problem(path.name, 1, "id", f"{name!r} is the id of {other} too"))
        else:
            site[name] = read
    return CalibrationLibrary(shipped, site, tuple(problems))


def _with_shipped(
    name: str, data: bytes, shipped: Mapping[str, CalibrationTables], materials: frozenset[str]
) -> SiteCalibration:
    if b"shipped" in data:
        return read_calibration(name, data, shipped, materials)
    return _read(name, data, materials)


@functools.lru_cache(maxsize=64)
def _read(name: str, data: bytes, materials: frozenset[str]) -> SiteCalibration:
    # The same bytes are the same calibration: files are read anew for each job, and fitted once.
    return read_calibration(name, data, {}, materials)


@dataclass(frozen=True)
class SiteMachine:
    """A machine of the site.

    Attributes
    ----------
    beam_data : in the engine's form; None where the description is of a machine that ships
    sha256 : of the files, by their names
    """

    name: str
    beam_data: Path | None
    description: MachineDescription
    sha256: Mapping[str, str]


def site_machines(shipped: Collection[str]) -> tuple[dict[str, SiteMachine], tuple[Problem, ...]]:
    """The site's machines by name as the files are now, and the mistakes in them."""
    machines: dict[str, SiteMachine] = {}
    problems: list[Problem] = []
    data: dict[str, Path] = {}
    described: dict[str, Path] = {}
    for path in _files(site_folders().machines, (".txt", ".yaml", ".yml")):
        if path.suffix != ".txt" and _is_linac(path):
            continue
        known = data if path.suffix == ".txt" else described
        if path.stem in known:
            problems.append(Problem(path.name, 1, "", f"the machine is described by {known[path.stem].name} too"))
        known[path.stem] = path
    for name in sorted({*data, *described}):
        try:
            machines[name] = _site_machine(name, data.get(name), described.get(name), shipped)
        except UnusableFileError as e:
            problems += e.problems
    return machines, tuple(problems)


def _site_machine(name: str, data: Path | None, described: Path | None, shipped: Collection[str]) -> SiteMachine:
    file = data or described
    assert file is not None
    if not re.fullmatch(MACHINE_NAME, name):
        raise UnusableFileError(
            (Problem(file.name, 1, "", f"a machine's name has letters, digits, _ and -: {name!r}"),)
        )
    if data is None and name not in shipped:
        raise UnusableFileError((Problem(file.name, 1, "", f"there is no {name}.txt, and no such machine ships"),))
    if data is not None and name in shipped:
        raise UnusableFileError((Problem(data.name, 1, "", "a machine of that name ships; give it another name"),))
    hashes, description = {}, MachineDescription()
    if data is not None:
        content = _bytes(data)
        check_beam_data(data.name, content)
        hashes[data.name] = hashlib.sha256(content).hexdigest()
    if described is not None:
        content = _bytes(described)
        description = read_description(described.name, content)
        hashes[described.name] = hashlib.sha256(content).hexdigest()
    return SiteMachine(name, data, description, hashes)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UnusableFileError((Problem(path.name, 1, "", f"cannot be read: {e.strerror}"),)) from None


def _is_linac(path: Path) -> bool:
    """Files of linacs are read by `photon_machine`; what is wrong with them is not a matter of protons."""
    try:
        return is_photon_machine(path.read_bytes())
    except OSError:
        return False


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix in suffixes and not p.name.startswith(".") and p.is_file())

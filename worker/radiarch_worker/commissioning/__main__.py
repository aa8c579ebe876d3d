"""``python -m radiarch_worker.commissioning FOLDER``: a machine file from measurements, or a check of beam data."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from radiarch_contract.errors import InvalidRequestError, RadiarchError

from radiarch_worker.machines.library import MACHINE_NAME
from radiarch_worker.machines.machine_file import check_beam_data
from radiarch_worker.machines.photon_machine import (
    GENERIC_LINAC,
    PhotonMachine,
    photon_machine,
    read_photon_machine,
)
from radiarch_worker.machines.site_file import UnusableFileError

from .linac import Fit, fit_energy
from .machine_text import machine_text
from .measurements import read_measurements
from .picture import draw


def run(arguments: list[str] | None = None) -> int:
    """Fit, write and say how well it fits; the exit code."""
    parser = argparse.ArgumentParser(
        prog="radiarch machine fit",
        description="Fit a linac's beam to measurements in water (CSV), and write NAME.yaml and NAME.png; or check "
        "proton beam data (NAME.txt in MCsquare's form). docs/machines.md describes the files.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="the machine's name (default: that of the folder)")
    parser.add_argument("--base", default=GENERIC_LINAC, help="the machine whose leaves, jaws and limits are taken")
    parser.add_argument("--energy", type=float, default=6.0, help="nominal energy, MV (default: 6)")
    parser.add_argument("--out", type=Path, help="folder for the files (default: the measurements' folder)")
    options = parser.parse_args(arguments)
    try:
        name = options.name or options.folder.resolve().name
        out = options.out or options.folder
        beam_data = sorted(options.folder.glob("*.txt")) if options.folder.is_dir() else []
        if beam_data and not any(options.folder.glob("*.csv")):
            return _check_protons(beam_data)
        return _fit(options.folder, name, photon_machine(options.base), options.energy, out)
    except RadiarchError as e:
        print(f"{e.info.message}\n{e.info.remedy}", file=sys.stderr)
        return 2


def _check_protons(files: list[Path]) -> int:
    """Beam data of protons are fitted by their vendors; what is needed here is that they are read as they are meant."""
    wrong = False
    for path in files:
        try:
            check_beam_data(path.name, path.read_bytes())
            print(f"{path.name}: proton beam data in MCsquare's form; copy it to the site's folder of machines")
        except UnusableFileError as e:
            wrong = True
            print("\n".join(map(str, e.problems)), file=sys.stderr)
    return 2 if wrong else 0


def _fit(folder: Path, name: str, base: PhotonMachine, energy_mv: float, out: Path) -> int:
    if not re.fullmatch(MACHINE_NAME, name):
        raise InvalidRequestError(
            f"{name!r} is no name of a machine: letters, digits, _ and -, at most 64", remedy="Give one with --name."
        )
    start = base.energy(energy_mv)
    measured = read_measurements(folder)
    fit = fit_energy(base.file, start, measured, len(os.sched_getaffinity(0)), lambda line: print(line, flush=True))
    text = machine_text(name, base, fit)
    read_photon_machine(f"{name}.yaml", text.encode())  # what is written is read
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.yaml").write_text(text, encoding="utf-8")
    draw(fit, f"{name}: measured and computed", out / f"{name}.png")
    _report(fit)
    print(f"{out / f'{name}.yaml'}\n{out / f'{name}.png'}")
    return 0


def _report(fit: Fit) -> None:
    for comparison in fit.comparisons:
        print(f"{comparison.title}: at most {comparison.worst:.2f} %")
    for note in fit.notes:
        print(note)


if __name__ == "__main__":
    sys.exit(run())

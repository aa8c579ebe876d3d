"""Commands about a site's machines; they need the worker's package, which computes, and no server."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import click

from ._base import Cli, RadiarchGroup


def register(root: RadiarchGroup) -> None:
    """Add the commands."""
    machine = RadiarchGroup("machine", help="Machine files of this site.")
    root.add_command(machine)

    @machine.cmd("fit")
    @click.argument("folder", type=click.Path(exists=True, file_okay=False))
    @click.option("--name", help="The machine's name (default: that of the folder).")
    @click.option("--base", help="The machine whose leaves, jaws and limits are taken (default: generic-120).")
    @click.option("--energy", type=float, help="Nominal energy, MV (default: 6).")
    @click.option("--out", type=click.Path(file_okay=False), help="Folder for the files (default: FOLDER).")
    def fit(_: Cli, folder: str, **options: str | float | None) -> None:
        """Make a machine file of what was measured in FOLDER.

        Depth doses, profiles and output factors (CSV) become NAME.yaml and NAME.png, a picture of fit and differences.
        Beam data of protons (NAME.txt) are checked. docs/machines.md describes the files.
        """
        if importlib.util.find_spec("radiarch_worker") is None:
            raise click.UsageError("this needs the worker's package: pip install 'radiarch[worker]'")
        given = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
        done = subprocess.run([sys.executable, "-m", "radiarch_worker.commissioning", folder, *given], check=False)
        sys.exit(done.returncode)

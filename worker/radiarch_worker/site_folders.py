"""Where a site keeps its machines and calibrations; it imports nothing, so that settings are read before all else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_CONFIG = Path(__file__).parents[2] / "orthanc-config"


@dataclass(frozen=True)
class Folders:
    """The site's folders; one that is not there is one without files."""

    calibrations: Path = _CONFIG / "calibrations"
    machines: Path = _CONFIG / "machines"


_folders = Folders()


def use_folders(folders: Folders) -> None:
    """Set the site's folders for this process and those that it forks."""
    global _folders
    _folders = folders


def site_folders() -> Folders:
    """The site's folders."""
    return _folders

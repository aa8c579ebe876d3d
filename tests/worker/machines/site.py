"""Folders of a site's machines and calibrations, for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radiarch_worker.site_folders import Folders, site_folders, use_folders


@contextmanager
def site(root: Path, *parts: str) -> Iterator[Path]:
    """``calibrations`` and ``machines`` below a folder are the site's; ``parts`` of them are there."""
    before = site_folders()
    folders = Folders(root / "calibrations", root / "machines")
    for part in parts:
        (root / part).mkdir()
    use_folders(folders)
    try:
        yield root
    finally:
        use_folders(before)

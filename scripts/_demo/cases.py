"""What the demo sends: a phantom that it makes, or the user's own folder; as DICOM files on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from phantoms import PhantomStudy, pelvis
from scripts._service.errors import ScriptError

from . import tg119

_FILE_LIMIT = 20_000


@dataclass(frozen=True)
class Case:
    """Files to send, and the structure set among them that is waited for."""

    title: str
    files: tuple[Path, ...]
    rtstruct: Path
    rtstruct_uid: str


def make_phantom(name: str, folder: Path, downloads: Path, say: Callable[[str], None]) -> Case:
    """Draw a phantom, with fresh UIDs, so that it is planned anew each time."""
    made: PhantomStudy
    if name == "tg119":
        say("making the TG-119 C-shape")
        made, title = tg119.study(tg119.fetch(downloads)), "TG-119 C-shape"
    else:
        say("drawing a pelvis")
        made, title = pelvis(shape=(58, 116, 154), spacing_mm=(2.5, 2.5, 2.5)), "drawn pelvis"
    paths = made.save(folder)
    return Case(title, tuple(paths), paths[-1], str(made.rtstruct.SOPInstanceUID))


def read_folder(folder: Path) -> Case:
    """The DICOM files of a user's folder.

    Raises
    ------
    ScriptError
        There is no structure set in it, or more than one, or no image.
    """
    if not folder.is_dir():
        raise ScriptError(f"{folder} is not a folder", remedy="Name a folder with a CT series and its RTSTRUCT.")
    files: list[Path] = []
    structure_sets: list[tuple[Path, str]] = []
    for path in (Path(where) / name for where, _, names in os.walk(folder) for name in names):
        try:
            head = dcmread(path, specific_tags=["SOPInstanceUID", "Modality"], stop_before_pixels=True)
        except (InvalidDicomError, OSError):
            continue
        files.append(path)
        if head.get("Modality") == "RTSTRUCT":
            structure_sets.append((path, str(head.SOPInstanceUID)))
        if len(files) > _FILE_LIMIT:
            raise ScriptError(f"{folder} has more than {_FILE_LIMIT} DICOM files", remedy="Name one study's folder.")
    if len(structure_sets) != 1 or len(files) < 2:
        raise ScriptError(
            f"{folder} has {len(files)} DICOM files, {len(structure_sets)} of them RTSTRUCT; "
            "one RTSTRUCT and its CT were expected",
            remedy="Name a folder with one CT series and one RTSTRUCT; scripts/serve takes any number.",
        )
    (rtstruct, uid), *_ = structure_sets
    return Case(folder.name, (*(f for f in files if f != rtstruct), rtstruct), rtstruct, uid)

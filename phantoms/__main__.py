"""``python -m phantoms pelvis FOLDER``: write a phantom's DICOM files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import SITES, PhantomStudy, box, pelvis, site


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m phantoms", description=__doc__)
    parser.add_argument("phantom", choices=["pelvis", "box", *SITES])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patient-id", help="default: RADIARCH- and the phantom's name")
    parser.add_argument("--seed", help="derive all UIDs from this; default: fresh UIDs")
    options = parser.parse_args(arguments)
    patient_id = options.patient_id or f"RADIARCH-{options.phantom.upper()}"
    study: PhantomStudy
    if options.phantom in SITES:
        study = site(options.phantom, patient_id=patient_id, seed=options.seed)
    else:
        study = (pelvis if options.phantom == "pelvis" else box)(patient_id=patient_id, seed=options.seed)
    paths = study.save(options.folder)
    print(f"{len(paths)} files in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

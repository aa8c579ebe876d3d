"""``python -m phantoms pelvis FOLDER``: write a phantom's DICOM files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import PhantomStudy, box, pelvis


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m phantoms", description=__doc__)
    parser.add_argument("phantom", choices=["pelvis", "box"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patient-id", help="default: RADIARCH-PELVIS or RADIARCH-BOX")
    parser.add_argument("--seed", help="derive all UIDs from this; default: fresh UIDs")
    options = parser.parse_args(arguments)
    patient_id = options.patient_id or f"RADIARCH-{options.phantom.upper()}"
    draw = pelvis if options.phantom == "pelvis" else box
    study: PhantomStudy = draw(patient_id=patient_id, seed=options.seed)
    paths = study.save(options.folder)
    print(f"{len(paths)} files in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Phantoms that are drawn once; no test changes them in place."""

from __future__ import annotations

import pytest

from tests.phantoms import PhantomStudy, box, faults, pelvis


def as_from_files(study: PhantomStudy) -> PhantomStudy:
    """With values not yet decoded, as a worker gets them; such data sets are copied quickly too."""
    return PhantomStudy([faults.reread(i) for i in study.images], faults.reread(study.rtstruct), study.shapes)


@pytest.fixture(scope="session")
def water() -> PhantomStudy:
    """A water box of 40 x 40 x 30 voxels of 4 mm."""
    return as_from_files(box(seed="patient tests"))


@pytest.fixture(scope="session")
def man() -> PhantomStudy:
    """The pelvis on a couch."""
    return as_from_files(pelvis(seed="patient tests", couch=True))

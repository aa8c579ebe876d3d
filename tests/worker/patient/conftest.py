"""Phantoms that are drawn once, and read from their files anew for each test."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest

from phantoms import PhantomStudy, box, pelvis


class Files:
    """A study as its files: values come not yet decoded, as a worker gets them."""

    def __init__(self, study: PhantomStudy) -> None:
        self._shapes = study.shapes
        self._files = []
        for dataset in study.datasets:
            buffer = BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            self._files.append(buffer.getvalue())

    def read(self) -> PhantomStudy:
        *images, rtstruct = (pydicom.dcmread(BytesIO(f)) for f in self._files)
        return PhantomStudy(list(images), rtstruct, self._shapes)


@pytest.fixture(scope="session")
def water_files() -> Files:
    return Files(box(seed="patient tests"))


@pytest.fixture(scope="session")
def man_files() -> Files:
    return Files(pelvis(seed="patient tests", couch=True))


@pytest.fixture
def water(water_files: Files) -> PhantomStudy:
    """A water box of 40 x 40 x 30 voxels of 4 mm."""
    return water_files.read()


@pytest.fixture
def man(man_files: Files) -> PhantomStudy:
    """The pelvis on a couch."""
    return man_files.read()

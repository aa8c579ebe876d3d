"""The distribution as a wheel: whole, and its SDK and command line work without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from radiarch_contract import __version__

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).resolve().parents[2]
CONSTRAINTS = CHECKOUT / "scripts" / "constraints.txt"
PARTS = ("contract", "plugin", "worker", "client")
ELSEWHERE = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RADIARCH_"))}


def run(*command: object, folder: Path) -> str:
    """What a command prints, run where none of our source is on the path."""
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, env=ELSEWHERE, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # a copy, since setuptools leaves its build folder in the source, and takes what an earlier one left there
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source, folder=out)
    (made,) = out.iterdir()
    return made


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    packages = [p for part in PARTS for p in (CHECKOUT / part).iterdir() if (p / "__init__.py").is_file()]
    assert {p.name for p in packages} == {f"radiarch_{part}" for part in PARTS}
    files = {str(f.relative_to(p.parent)) for p in packages for f in p.rglob("*") if f.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        assert {f for f in files if "__pycache__" not in f} <= set(archive.namelist())


def test_the_wheel_has_the_one_version(wheel: Path) -> None:
    assert wheel.name.split("-")[1] == __version__
    assert "version" in tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dynamic"]


def test_sdk_and_command_line_work_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, f"{wheel}[client]", folder=tmp_path)
    assert run(python.parent / "radiarch", "--version", folder=tmp_path).split()[-1] == __version__
    where = run(python, "-c", "import radiarch_client as c; c.Radiarch; print(c.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path)
    checked = run(
        python.parent / "radiarch", "protocols", "check", CHECKOUT / "orthanc-config/protocols", folder=tmp_path
    )
    assert "is right" in checked

"""Whatever a site's folder holds, it is read, or refused with file and line; nothing else happens."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_worker.engines.mcsquare import load_calibration, load_machine, site_problems
from radiarch_worker.jobs.site_state import MachineData
from radiarch_worker.machines.stoichiometry import Attenuation

from tests.worker.machines.site import site
from tests.worker.machines.test_calibrations import phantom, table
from tests.worker.machines.test_machines import beam_data

TEXTS = {
    "calibrations/mine.yaml": table("mine", "scanners: [{station: CT1, kvp: [120]}]"),
    "calibrations/fitted.yaml": phantom(Attenuation(1.2e-3, 3e-5)),
    "machines/room.txt": beam_data(),
}
WORDS = (
    *("0", "-1", "1e400", ".nan", ".inf", "true", "~", "[]", "{}", "'", '"', "&a", "*a", "!!python/none", "\x00"),
    *("\ufeff", "é", "0x10", "030", "1:30", "- ", ": ", "#", "\t", "1000000000000"),
)
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(("insert", "delete", "line", "double")), st.sampled_from(WORDS)),
    min_size=1,
    max_size=4,
)


@contextmanager
def fresh_site() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name, site(Path(name), "calibrations", "machines") as folder:
        yield folder


def changed(text: str, changes: list[tuple[float, str, str]]) -> str:
    for where, how, word in changes:
        at = int(where * max(0, len(text) - 1))
        if how == "insert":
            text = text[:at] + word + text[at:]
        elif how == "delete":
            text = text[:at] + text[at + 3 :]
        else:
            lines = text.splitlines(keepends=True)
            n = min(int(where * len(lines)), len(lines) - 1)
            lines[n : n + 1] = [lines[n], lines[n]] if how == "double" else []
            text = "".join(lines)
    return text


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(which=st.sampled_from(sorted(TEXTS)), changes=CHANGES)
def test_a_mangled_file_is_read_or_refused_by_name(which: str, changes: list[tuple[float, str, str]]) -> None:
    with fresh_site() as folder:
        file = folder / which
        file.write_text(changed(TEXTS[which], changes), encoding="utf-8", errors="surrogatepass")
        problems = site_problems()
        for problem in problems:
            assert problem.file == file.name
            assert problem.line >= 1
        load = load_machine if file.suffix == ".txt" else load_calibration
        refused: InvalidRequestError | None = None
        try:
            load(file.stem)
        except InvalidRequestError as e:
            refused = e
        if refused is not None:
            assert problems or refused.code is ErrorCode.INVALID_REQUEST, "its id was changed"
            return
        if file.suffix == ".yaml":
            calibration = load_calibration(file.stem)
            assert np.isfinite(calibration.rsp).all()
            assert (calibration.rsp >= 0).all()
            water = float(calibration.stopping_power(np.zeros(1, dtype=np.float32))[0])
            assert 0.7 < water < 1.2


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"\x00" * 100, b"- a\n- b\n", b"5", b"\xef\xbb\xbfid: x\n", b"a: &x [*x]\n", b"[" * 5000],
)
def test_what_is_no_file_of_fields_is_refused(content: bytes) -> None:
    with fresh_site() as folder:
        (folder / "calibrations" / "odd.yaml").write_bytes(content)
        (folder / "machines" / "odd.txt").write_bytes(content)
        assert {p.file for p in site_problems()} == {"odd.yaml", "odd.txt"}


def test_what_is_no_yaml_or_text_file_is_left_alone() -> None:
    with fresh_site() as folder:
        (folder / "calibrations" / "README.md").write_text("[")
        (folder / "calibrations" / ".hidden.yaml").write_text("[")
        (folder / "calibrations" / "folder.yaml").mkdir()
        (folder / "machines" / "BDL.txt~").write_text("[")
        assert site_problems() == ()


def test_a_worker_tells_its_files_and_their_mistakes() -> None:
    with fresh_site() as folder:
        data = MachineData()
        data.look()
        assert (data.files, data.problems) == ({}, ())
        (folder / "calibrations" / "mine.yaml").write_text(TEXTS["calibrations/mine.yaml"])
        (folder / "machines" / "room.txt").write_text("no beam data")
        data.look()
        assert data.files == {}, "not looked at each second"
        again = MachineData()
        again.look()
        assert set(again.files) == {"calibrations/mine.yaml", "machines/room.txt"}
        assert len(again.problems) == 1
        assert again.problems[0].startswith("room.txt, line 1")

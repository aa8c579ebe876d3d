"""What is written for the user is whole, and takes nobody's place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_client._files import require_free, whole_or_nothing, write
from radiarch_contract.errors import ConflictError

NAMES = st.sampled_from(["rtdose.dcm", "rtplan.dcm", "report.dcm", "x"])
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=3), max_size=4)


@given(there=CONTENTS, new=CONTENTS)
def test_all_or_none_is_written_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, there: dict[str, bytes], new: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for name, data in there.items():
        (folder / name).write_bytes(data)
    wanted = {folder / name: data for name, data in new.items()}
    taken = [name for name, data in new.items() if there.get(name, data) != data]
    if taken:
        with pytest.raises(ConflictError) as caught:
            write(wanted)
        assert caught.value.info.details["files"] == [str(folder / name) for name in taken]
    else:
        write(wanted)
    left = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert left == (there if taken else there | new)


def test_a_file_that_is_not_finished_is_not_there(tmp_path: Path) -> None:
    def half() -> None:
        with whole_or_nothing(tmp_path / "a") as f:
            f.write(b"half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_is_taken_in_the_last_moment_stays_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    real = os.link

    def late(source: Path, target: Path) -> None:
        if target.name == "b":
            target.write_bytes(b"somebody's")
        if not links:
            raise OSError(errno.EPERM, "no links here")
        real(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(ConflictError, match="b is there already"):
        write({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"b": b"somebody's"}


@pytest.mark.parametrize("kind", ["folder", "link", "broken link"])
def test_what_is_no_file_is_not_replaced_either(tmp_path: Path, kind: str) -> None:
    target, other = tmp_path / "a", tmp_path / "other"
    if kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(other)
    if kind == "link":
        other.write_bytes(b"mine")
    with pytest.raises(ConflictError):
        write({target: b"new"})
    with pytest.raises(ConflictError):
        require_free([tmp_path / "free", target])
    assert other.exists() == (kind == "link")

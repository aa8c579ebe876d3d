"""Laws of the array cache: a hit is the same bits, damage is found, a killed writer leaves nothing, bounds hold."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from radiarch_worker.engines.arraycache import ArrayCache, Arrays, ContentKey

FORK = multiprocessing.get_context("fork")
KEY, OTHER, THIRD = (ContentKey().add("n", str(n)).hex() for n in range(3))
MB = 1 << 20


def arrays(seed: int = 0, mb: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {"data": rng.random(mb * MB // 4).astype(np.float32), "rows": np.arange(7, dtype=np.int64)}


def never() -> Arrays:
    raise AssertionError("was in the cache")


def same(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def test_a_hit_is_what_was_made(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path / "c", 100 * MB)
    made, hit = cache.get(KEY, arrays)
    assert not hit
    found, hit = cache.get(KEY, never)
    assert hit
    assert same(made, found)
    assert not found["data"].flags.writeable
    other, hit = cache.get(OTHER, lambda: arrays(1))
    assert not hit
    assert not same(other, found)


@pytest.mark.parametrize("name", ["data.npy", "rows.npy", "entry.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "garbage"])
def test_damage_is_found_removed_and_computed_anew(tmp_path: Path, name: str, how: str) -> None:
    cache = ArrayCache(tmp_path / "c", 100 * MB)
    made, _ = cache.get(KEY, arrays)
    file = tmp_path / "c" / KEY / name
    data = bytearray(file.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 1 if name != "entry.json" else 0xFF
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "garbage":
        data = bytearray(b"[[]]" * 100)
    file.unlink()
    if how != "gone":
        file.write_bytes(data)
    again, hit = cache.get(KEY, arrays)
    assert not hit
    assert same(made, again)
    assert cache.get(KEY, never)[1]


def in_child(work: Callable[[Connection], None]) -> tuple[Any, Connection]:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=work, args=(theirs,), daemon=True)
    child.start()
    theirs.close()
    return child, ours


def test_a_kill_while_writing_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ArrayCache(tmp_path / "c", 100 * MB)

    def write_and_die(told: Connection) -> None:
        real = np.save

        def half(stream: Any, array: Any, **kwargs: Any) -> None:
            real(stream, array, **kwargs)
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        np.save = half  # type: ignore[assignment]  # only in this child
        cache.get(KEY, arrays)

    child, _ = in_child(write_and_die)
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert list((tmp_path / "c").glob("*.partial"))
    made, hit = cache.get(KEY, arrays)
    assert not hit
    assert same(made, cache.get(KEY, never)[0])
    assert not list((tmp_path / "c").glob("*.partial"))


def test_two_at_once_compute_once(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path / "c", 100 * MB)
    began, go_on = FORK.Event(), FORK.Event()

    def slow(told: Connection) -> None:
        def make() -> Arrays:
            began.set()
            assert go_on.wait(30)
            return arrays()

        cache.get(KEY, make)

    def second(told: Connection) -> None:
        lines: list[str] = []

        def log(line: str) -> None:
            lines.append(line)
            told.send(line)

        found, hit = cache.get(KEY, lambda: arrays(9), log)
        told.send((hit, same(found, arrays())))

    first, _ = in_child(slow)
    assert began.wait(30)
    other, said = in_child(second)
    assert said.poll(30)
    assert "waiting" in said.recv()
    go_on.set()
    assert said.poll(30)
    assert said.recv() == (True, True)
    for child in (first, other):
        child.join(30)
        assert child.exitcode == 0


def test_the_least_recently_used_go_and_what_is_open_stays(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    cache = ArrayCache(folder, int(2.5 * MB))
    cache.get(KEY, arrays)
    os.utime(folder / KEY / "entry.json", (1, 1))
    cache.get(OTHER, lambda: arrays(1))
    os.utime(folder / OTHER / "entry.json", (2, 2))
    mapped, hit = cache.get(KEY, never)  # used now
    assert hit
    cache.get(THIRD, lambda: arrays(2))
    assert (folder / KEY).is_dir()
    assert not (folder / OTHER).exists()
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= cache.limit_bytes
    # removed while it is mapped: whoever reads it goes on reading the same
    os.utime(folder / KEY / "entry.json", (1, 1))
    cache.get(OTHER, lambda: arrays(1))
    assert not (folder / KEY).exists()
    assert same(mapped, arrays())


def test_what_another_process_has_locked_is_not_evicted(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    cache = ArrayCache(folder, int(1.5 * MB))
    cache.get(KEY, arrays)
    holding, release = FORK.Event(), FORK.Event()

    def hold(told: Connection) -> None:
        import fcntl

        with (folder / f"{KEY}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            holding.set()
            release.wait(30)

    child, _ = in_child(hold)
    assert holding.wait(30)
    cache.get(OTHER, lambda: arrays(1))
    assert (folder / KEY / "data.npy").exists()
    release.set()
    child.join(30)


def test_too_large_or_unwritable_is_computed_and_not_kept(tmp_path: Path) -> None:
    said: list[str] = []
    made, hit = ArrayCache(tmp_path / "c", MB // 2).get(KEY, arrays, said.append)
    assert not hit
    assert same(made, arrays())
    assert not (tmp_path / "c" / KEY).exists()
    (tmp_path / "file").write_bytes(b"")
    assert not ArrayCache(tmp_path / "file" / "c", 100 * MB).get(KEY, arrays, said.append)[1]
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert not ArrayCache(tmp_path / "open", 100 * MB).get(KEY, arrays, said.append)[1]
    assert len(said) == 3


def test_where_nothing_can_be_locked_it_is_computed_and_not_kept(tmp_path: Path) -> None:
    cache, lines = ArrayCache(tmp_path, 1 << 30), list[str]()
    (tmp_path / "k.lock").mkdir()  # stands for a file system without locks, or without a free inode
    found, cached = cache.get("k", arrays, lines.append)
    assert same(found, arrays())
    assert not cached
    assert any("cannot hold a lock" in line for line in lines)
    assert not (tmp_path / "k").exists()


def test_every_part_of_a_key_counts() -> None:
    def key(**parts: Any) -> str:
        k = ContentKey()
        for name, value in parts.items():
            k.add(name, value)
        return k.hex()

    a = np.arange(6, dtype=np.int32)
    keys = [
        key(x="a", y="b"),
        key(x="ab", y=""),
        key(x="a", z="b"),
        key(y="b", x="a"),
        key(x=a),
        key(x=a.astype(np.int64)),
        key(x=a.reshape(2, 3)),
        key(x=a.view(np.float32)),
        key(x=a + 1),
    ]
    assert len(set(keys)) == len(keys)
    assert key(x=a.reshape(2, 3)) == key(x=np.asfortranarray(a.reshape(2, 3)))

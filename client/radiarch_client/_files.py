"""Files written for the user: whole or not at all, and never over other content; what is in them is not here."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from radiarch_contract.errors import ConflictError


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[IO[bytes]]:
    """A file that is there only when everything is written.

    Raises
    ------
    ConflictError
        There is one of this name with other content already; it stays as it is.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as f:
            yield f
        put({target: part})
    finally:
        part.unlink(missing_ok=True)


def write(files: Mapping[Path, bytes]) -> None:
    """Write all of them or, where one of the names is taken by other content, none. Raises `ConflictError`."""
    parts = {target: target.with_name(f".{target.name}.{secrets.token_hex(4)}.part") for target in files}
    try:
        for target, part in parts.items():
            with part.open("xb") as f:
                f.write(files[target])
        put(parts)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def require_free(targets: Iterable[Path]) -> None:
    """Refuse names that are taken already, before work is done for files of these names. Raises `ConflictError`."""
    taken = [target for target in targets if os.path.lexists(target)]
    if taken:
        raise _taken(taken)


def put(parts: Mapping[Path, Path]) -> None:
    """Give written files their names: all of them or, where one is taken by other content, none.

    Parameters
    ----------
    parts
        By target, files beside or below it, on the same disk; they may be left where the very same is there already.

    Raises
    ------
    ConflictError
    """
    taken = [target for target, part in parts.items() if _differs(target, part)]
    if taken:
        raise _taken(taken)
    made: list[Path] = []
    for target, part in parts.items():
        try:
            _name(part, target)
        except FileExistsError:
            if not _differs(target, part):
                continue
            for path in made:
                path.unlink(missing_ok=True)
            raise _taken([target]) from None
        made.append(target)


def _name(part: Path, target: Path) -> None:
    """Raises `FileExistsError` where the name is taken, unlike a rename."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without links
        with target.open("xb") as f, part.open("rb") as source:
            shutil.copyfileobj(source, f)


def _differs(target: Path, part: Path) -> bool:
    """Whether there is something at the target that is not what is to be written."""
    if not os.path.lexists(target):
        return False
    if not target.is_file() or target.stat().st_size != part.stat().st_size:
        return True
    with target.open("rb") as one, part.open("rb") as other:
        while block := one.read(1 << 20):
            if block != other.read(1 << 20):
                return True
    return False


def _taken(targets: list[Path]) -> ConflictError:
    names = ", ".join(str(t) for t in targets)
    return ConflictError(
        f"{names} {'is' if len(targets) == 1 else 'are'} there already, with other content; nothing is written",
        remedy="Name another file or folder (each plan needs one of its own), or move away what is there.",
        files=[str(t) for t in targets],
    )

"""Small files that a run cannot go on without, each kept twice.

Beside ``NAME`` lies ``.NAME.copy``: a line with the sha256 of the bytes that NAME should hold, and
of those that it held before, and then the bytes. So damage is told from a write that a kill cut
off, and is mended without the user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from constitutional.runs.files import atomic_write, explain


def write_twice(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` and into its copy; a kill leaves the old or the new bytes."""
    before = _read(path)
    header = f"{_hash(data)} {_hash(before or b'')}\n".encode()
    atomic_write(copy_of(path), header + data)
    atomic_write(path, data)


def heal(path: Path, tell: Callable[[str], None]) -> None:
    """Write a file that is damaged or gone anew from its copy, and tell so.

    Without a copy that is whole the file stays as it is, for its reader to refuse.
    """
    copy = _read_copy(path)
    if copy is None:
        return
    found = _read(path)
    if found is not None and _hash(found) in (copy.now, copy.before):
        return
    atomic_write(path, copy.data)
    what = "was missing" if found is None else "was damaged"
    tell(f"{path} {what} and is restored from its copy.")


def copy_of(path: Path) -> Path:
    """Where the copy of a file lies."""
    return path.with_name(f".{path.name}.copy")


class _Copy(NamedTuple):
    now: str
    before: str
    data: bytes


def _read_copy(path: Path) -> _Copy | None:
    """The copy of a file; None where there is none, or it is damaged itself."""
    header, _, data = (_read(copy_of(path)) or b"").partition(b"\n")
    now, _, before = header.decode("ascii", "replace").partition(" ")
    return _Copy(now, before, data) if now == _hash(data) else None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

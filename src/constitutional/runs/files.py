"""Writing that survives a kill: fsync, rename, and errors of the disk in one sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

from constitutional.errors import RunFolderError

_CHUNK = 1 << 20

_SENTENCES = {
    errno.ENOSPC: "no space is left on the disk; finished work is safe: make room and start again",
    errno.EDQUOT: "the disk quota is used up; finished work is safe: make room and start again",
    errno.EFBIG: "the file-size limit is reached; finished work is safe: raise it and start again",
    errno.EROFS: "the disk is read-only: choose a run folder that can be written",
    errno.EACCES: "no permission to write here: choose a run folder that can be written",
    errno.EPERM: "no permission to write here: choose a run folder that can be written",
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another run folder",
    errno.EEXIST: "this is a file, not a folder: choose another run folder",
    errno.EISDIR: "a folder stands where the run keeps a file: move it away",
    errno.ELOOP: "a symbolic link stands where the run keeps a file: remove the link",
}


#: What torch.save says where a write failed; of why it says nothing.
_TORCH_COULD_NOT_WRITE = ("PytorchStreamWriter failed", "inline_container", "iostream error")


def explain(error: OSError, path: Path) -> RunFolderError:
    """The one sentence that the user gets for an error of the file system at ``path``."""
    known = None if error.errno is None else _SENTENCES.get(error.errno)
    return RunFolderError(f"{path}: {known or f'cannot be used ({error.strerror or error})'}")


def of_the_disk(error: BaseException, path: Path) -> RunFolderError | None:
    """The sentence for an error that a full or read-only disk has caused somewhere below ``path``.

    Libraries wrap it in errors of their own, with its text at most. None for any other error.
    """
    cause: BaseException | None = error
    while cause is not None:
        number = getattr(cause, "errno", None)
        for known in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            if number == known or os.strerror(known) in str(cause):
                return explain(OSError(known, os.strerror(known)), path)
        cause = cause.__cause__ or cause.__context__
    if any(words in str(error) for words in _TORCH_COULD_NOT_WRITE):
        return RunFolderError(
            f"{path}: a file could not be written, most likely because no space is left on the disk"
            f" ({shutil.disk_usage(path).free:,} bytes are free); finished work is safe: make room"
            " and start again"
        )
    return None


def make_folder(path: Path) -> None:
    """Make ``path`` and its parents, on the disk when this returns."""
    if path.is_dir():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise explain(error, path) from error


def open_for_writing(path: Path) -> int:
    """A descriptor to read and write the file ``path``, made if absent; never through a link."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def write_at(descriptor: int, offset: int, data: bytes) -> None:
    """Make ``data`` the end of the file, from ``offset`` on, and wait until it is on the disk.

    What an earlier attempt left behind ``offset`` is dropped first, so a failed write can be
    repeated.
    """
    os.ftruncate(descriptor, offset)
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
    os.fsync(descriptor)


def atomic_write(path: str | Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a kill at any moment leaves the old or the new bytes.

    The name of the temporary file is fixed (``.NAME.tmp``): one process writes in a run folder at a
    time, and a kill then leaves no litter behind that the next write does not use up.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = open_for_writing(temporary)
        try:
            write_at(descriptor, 0, data)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise explain(error, path) from error


def fsync_folder(path: Path) -> None:
    """Wait until the names in the folder ``path`` are on the disk."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def fsync_file(path: Path) -> None:
    """Wait until the bytes of the file ``path`` are on the disk."""
    _fsync(path, os.O_RDONLY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path, size: int | None = None) -> str:
    """Hex sha256 of the first ``size`` bytes of a file, or of all of it."""
    digest = hashlib.sha256()
    left = path.stat().st_size if size is None else size
    with path.open("rb") as stream:
        while left and (chunk := stream.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()

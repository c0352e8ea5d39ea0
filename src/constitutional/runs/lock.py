"""One process per run folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from constitutional.errors import RunFolderError
from constitutional.runs.files import explain, open_for_writing, write_at

LOCK = "lock"


class FolderLock:
    """A lock on a folder, held until ``release`` or the end of the process, however it ends.

    The kernel frees a flock when its holder dies, so the ``lock`` file itself means nothing: it
    stays behind (removing it would let two processes lock two files of one name) and holds the
    owner's process id for the message to the next one.
    """

    def __init__(self, folder: Path):
        self._file: int | None = None
        path = folder / LOCK
        try:
            descriptor = open_for_writing(path)
        except OSError as error:
            raise explain(error, path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_at(descriptor, 0, f"{os.getpid()}\n".encode())
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise RunFolderError(
                f"{folder} is in use by process {owner or 'another'}:"
                " wait until it ends, stop it, or choose another run folder"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise explain(error, path) from error
        self._file = descriptor

    def release(self) -> None:
        """Give the folder free; a second call does nothing."""
        if self._file is not None:
            # unlock, not only close: a forked worker may still hold the descriptor
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = None

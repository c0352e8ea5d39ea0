"""Processes of a training end with the one that started them, also when that was killed."""

from __future__ import annotations

import os
import signal
import threading
import time

_SECONDS = 0.2


def end_with_parent(parent: int | None = None) -> None:
    """From now on SIGTERM comes to this process soon after its parent is gone.

    Two trainings must not write one folder: a command that goes on after a kill would otherwise
    meet the processes of the killed one. ``parent`` is the process id of the parent where that is
    known, which may be gone before this is called.
    """
    watcher = threading.Thread(target=_watch, args=(parent or os.getppid(),), daemon=True)
    watcher.start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)

"""Moments within a process at which something is done to it: operations on files, checkpoints."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.world import Process

_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


def at_operations(out: Path, seen: Callable[[str, Any], None]) -> None:
    """Call ``seen`` before each operation that changes the run's files, by Python's audit events.

    fsync and pwrite have no event and are wrapped; ``seen("pwrite", (descriptor, data, offset))``
    may write a part of it.
    """
    busy = threading.local()

    def once(name: str, arguments: Any) -> None:
        if getattr(busy, "now", False):
            return
        busy.now = True
        try:
            seen(name, arguments)
        finally:
            busy.now = False

    def audit(event: str, arguments: Any) -> None:
        if event in _EVENTS:
            once(event, arguments)
        elif event == "open" and str(arguments[0]).startswith(str(out)):
            writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
            if writes:
                once(event, arguments)

    fsync, pwrite = os.fsync, os.pwrite

    def watched_fsync(descriptor: int) -> None:
        once("fsync", (descriptor,))
        fsync(descriptor)

    def watched_pwrite(descriptor: int, data: Any, offset: int) -> int:
        once("pwrite", (descriptor, data, offset))
        return pwrite(descriptor, data, offset)

    os.fsync, os.pwrite = watched_fsync, watched_pwrite
    sys.addaudithook(audit)


def at_checkpoints(seen: Callable[[], None]) -> None:
    """Call ``seen`` when a checkpoint begins to be written."""
    import transformers

    from constitutional.rl import checkpoint

    save, save_of_ppo = transformers.Trainer._save_checkpoint, checkpoint.save

    def saving(self: Any, *args: Any, **rest: Any) -> Any:
        seen()
        return save(self, *args, **rest)

    def saving_of_ppo(*args: Any, **rest: Any) -> Any:
        seen()
        return save_of_ppo(*args, **rest)

    transformers.Trainer._save_checkpoint = saving
    checkpoint.save = saving_of_ppo


def die_at_operation(number: int, torn: bool, process: Process) -> None:
    """SIGKILL before operation ``number``; with ``torn`` half of what would be written is."""
    left = [number]

    def seen(name: str, arguments: Any) -> None:
        left[0] -= 1
        if left[0] > 0:
            return
        if torn and name != "pwrite":
            return  # the next write it is
        if torn:
            descriptor, data, offset = arguments
            os.pwrite(descriptor, bytes(data)[: len(data) // 2], offset)
        process.note("died", name)
        os.kill(os.getpid(), signal.SIGKILL)

    at_operations(process.out, seen)


def die_in_checkpoint(number: int, after: float, process: Process) -> None:
    """SIGKILL so many seconds after checkpoint ``number`` began to be written."""
    left = [number]

    def seen() -> None:
        left[0] -= 1
        if left[0] == 0:
            process.note("died", "checkpoint")
            threading.Thread(target=_kill_after, args=(after,), daemon=True).start()

    at_checkpoints(seen)


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def clock_goes_back(process: Process) -> None:
    """Each asking for the time of day gives an earlier one; newer checkpoints look older."""
    real, back = time.time, [0.0]
    chance = random.Random(os.getpid())

    def earlier() -> float:
        back[0] += chance.uniform(0, 3600)
        return real() - back[0]

    time.time = earlier
    from constitutional.runs import checkpoints

    mark = checkpoints.mark_complete
    from constitutional import training
    from constitutional.rl import checkpoint

    def marked(folder: Path, *args: Any) -> None:
        mark(folder, *args)
        back[0] += 86400
        os.utime(folder, (earlier(), earlier()))

    training.mark_complete = checkpoint.mark_complete = marked  # type: ignore[attr-defined]

"""A clean stop on Ctrl-C (SIGINT) and SIGTERM."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from constitutional.runs.journal import count_records

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: After so many seconds the process ends even if Python never got to run the handler.
_GRACE = 1.5


def safe_records(run_path: str | Path) -> int:
    """How many records are safe in a run folder; quick, and works beside a live run."""
    return sum(count_records(folder) for folder in Path(run_path).glob("stages/*"))


@contextmanager
def interruptible(run_path: str | Path, command: str) -> Iterator[None]:
    """Turn SIGINT and SIGTERM inside the block into a message and exit code 130 or 143.

    The first signal raises KeyboardInterrupt where the program stands; a second one ends the
    process at once. A main thread that is deep in a matrix product does not get to its handler, so
    a watcher thread ends the process after 1.5 seconds; nothing is lost by that, because all that
    counts is on the disk already. Outside the main thread, where Python allows no handlers, this
    does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = _Stop(Path(run_path), command)
    stop.install()
    try:
        yield
    except KeyboardInterrupt:
        stop.seen = stop.seen or signal.SIGINT
    except BaseException:
        # with a signal seen, this is most likely what somebody made of the interrupt
        if not stop.seen:
            raise
    finally:
        stop.restore()
    if stop.seen:
        stop.say()
        raise SystemExit(128 + stop.seen)


class _Stop:
    """The handlers, the watcher, and the message."""

    def __init__(self, run_path: Path, command: str):
        self.seen = 0
        self._run_path, self._command = run_path, command
        self._over = False

    def install(self) -> None:
        """Take over both signals until ``restore``."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # the C part of Python writes the signal's number there even while no bytecode runs
        self._old_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        self._watcher = threading.Thread(target=self._watch, name="stop watcher", daemon=True)
        self._watcher.start()

    def restore(self) -> None:
        """Give the signals back and end the watcher."""
        self._over = True
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.write(self._write, b"\0")
        self._watcher.join()
        os.close(self._read)
        os.close(self._write)

    def say(self) -> None:
        """Tell what is safe and how to go on."""
        count = safe_records(self._run_path)
        records = "1 record is" if count == 1 else f"{count} records are"
        print(
            f"Stopped. {records} safe in {self._run_path}. Go on with: {self._command}",
            file=sys.stderr,
            flush=True,
        )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            os._exit(128 + number)
        self.seen = number
        if not self._over:  # the block has ended; the message comes next
            raise KeyboardInterrupt

    def _watch(self) -> None:
        first = self._next_signal(None)
        if not first:
            return
        second = self._next_signal(_GRACE)
        if second is None:
            self._leave(first)
        elif second:
            os._exit(128 + second)

    def _next_signal(self, seconds: float | None) -> int | None:
        """The next of our signals, 0 when the block is over, None when time is up."""
        while select.select([self._read], [], [], seconds)[0]:
            number = os.read(self._read, 1)[0]
            if number in (0, *_SIGNALS):
                return number
        return None

    def _leave(self, number: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h\n")  # a live bar hides the cursor
        self.say()
        os._exit(128 + number)

"""One case tried: an answer, one sentence of ours, or a fault."""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import constitutional
from constitutional.errors import ConstitutionalError

#: Seconds of processor time for one case; a case is at most a few thousand bytes.
LIMIT = 3.0
#: A message beyond this is no sentence but somebody's file.
LONGEST_SENTENCE = 1500
_SOURCE = str(Path(constitutional.__file__).parent)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class TooSlowError(BaseException):
    """Not an Exception, so that no reader takes it for a fault in its file."""


class NotASentenceError(AssertionError):
    """An error of ours that a user could not read in one line of a terminal."""


@dataclass(frozen=True)
class Target:
    """A reader. ``read`` takes a case, and returns or raises ConstitutionalError.

    ``make`` draws a case that is built from valid examples; ``of_bytes`` makes one of any bytes,
    beginning with ``seeds``, and is None where there is nothing to be said by bytes.
    """

    name: str
    make: Callable[[Random], Any]
    read: Callable[[Any], None]
    of_bytes: Callable[[bytes], Any] | None = None
    seeds: Callable[[], list[bytes]] = list
    #: How many of a thousand cases are this target's.
    share: int = 50
    #: What is made once, and counts for no case.
    ready: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Fault:
    """What went wrong. ``mark`` is the same for two cases that met the same fault."""

    mark: str
    case: Any
    told: str


def attempt(target: Target, case: Any) -> Fault | None:
    """Try one case; the fault that it met, if any."""
    target.ready()
    try:
        with _limited(LIMIT):
            target.read(case)
    except ConstitutionalError as error:
        try:
            check_sentence(str(error))
        except NotASentenceError as fault:
            return Fault(f"{_marked(error)}: {fault}", case, repr(str(error)[:300]))
    except (Exception, TooSlowError) as error:
        return Fault(_marked(error), case, "".join(traceback.format_exception(error)[-6:]))
    return None


def check_sentence(message: str) -> None:
    """Raise NotASentenceError where a message cannot be shown as one line."""
    if not message.strip():
        raise NotASentenceError("the message is empty")
    if found := _CONTROL.search(message):
        raise NotASentenceError(f"the message holds U+{ord(found[0]):04X}")
    if len(message) > LONGEST_SENTENCE:
        raise NotASentenceError("the message is too long")


def _marked(error: BaseException) -> str:
    """The kind of error and the place of ours that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_SOURCE)]
    # of one that took too long, the place is by chance: its way in is what tells it apart
    place = (ours[:2] if isinstance(error, TooSlowError) else ours)[-1:] or frames[-1:]
    where = "".join(f"{Path(f.filename).name}:{f.name}" for f in place)
    said = f" ({error})" if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} in {where}{said}"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    over = False

    def stop(*_: object) -> None:
        if not over:  # one that comes after the end is nobody's
            raise TooSlowError(f"more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)

"""How fast a server is asked, and how long to wait before it is asked again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Seconds before the first repetition; each further one waits twice as long, at most ``LONGEST``.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
#: The share of a minute's allowance that may be used at once.
BURST = 0.1


class Bucket:
    """A token bucket: so much a minute, of which a tenth may be used at once.

    ``take`` says how long to wait and never waits itself. A request larger than the bucket is
    allowed and paid off by those after it.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]):
        self._rate = per_minute / 60
        self._size = max(per_minute * BURST, 1.0)
        self._level = self._size
        self._clock = clock
        self._then = clock()
        self._lock = threading.Lock()

    def take(self, amount: float) -> float:
        """Take ``amount`` and return the seconds until it is there; negative amounts give back."""
        with self._lock:
            now = self._clock()
            self._level = min(self._size, self._level + (now - self._then) * self._rate)
            self._then = now
            self._level -= amount
            return max(0.0, -self._level / self._rate)


def backoff(attempt: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds to wait before repetition ``attempt`` (from 1).

    Doubling from half a second to a minute, less up to a half by chance so that clients do not
    return together; never before ``retry_after``, which gets up to a tenth more.
    """
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1)) * (1 - rng.random() / 2)
    if retry_after is None:
        return wait
    return max(wait, retry_after * (1 + rng.random() / 10))


def retry_after(
    headers: Mapping[str, str], now: Callable[[], datetime] | None = None
) -> float | None:
    """The seconds that a server asks to wait: ``retry-after-ms``, seconds, or an HTTP date."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        asked = headers.get("retry-after")
        return None if asked is None else max(0.0, float(asked))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    there = datetime.now(UTC) if now is None else now()
    return max(0.0, (until - there).total_seconds())

"""Requests that arrive together are scored together, one batch at a time, and counted."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Row = Sequence[int]


class Overloaded(Exception):
    """More answers wait than the service takes."""


class ScoringFailed(Exception):
    """The preference model gave no score; the message says why."""


@dataclass
class Metrics:
    """What the service has done since it began."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    answers: int = 0
    batches: int = 0
    seconds: float = 0.0
    waiting: int = 0

    def text(self) -> str:
        """As Prometheus reads it (text format 0.0.4)."""
        lines = ["# HELP pm_requests_total Requests by path and status."]
        lines.append("# TYPE pm_requests_total counter")
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'pm_requests_total{{path="{path}",status="{status}"}} {count}')
        for name, kind, about, value in (
            ("pm_answers_total", "counter", "Answers scored.", self.answers),
            ("pm_batches_total", "counter", "Batches that they were scored in.", self.batches),
            ("pm_scoring_seconds_total", "counter", "Seconds spent scoring.", self.seconds),
            ("pm_waiting_answers", "gauge", "Answers that wait to be scored.", self.waiting),
        ):
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"


class Batcher:
    """Gathers rows of token ids and scores them in a thread, so that requests go on arriving.

    ``score`` gets all rows that wait, and is never called twice at a time. While it works the next
    ones gather; before it works, those of the next ``gather_seconds``. At most ``limit`` rows wait.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Row]], Sequence[float]],
        metrics: Metrics,
        *,
        gather_seconds: float = 0.005,
        limit: int = 16384,
    ):
        self._score, self.metrics = score, metrics
        self._gather, self._limit = gather_seconds, limit
        self._queue: asyncio.Queue[tuple[Sequence[Row], asyncio.Future[list[float]]]] = (
            asyncio.Queue()
        )

    async def scores(self, rows: Sequence[Row]) -> list[float]:
        """One finite score for each row. Raises Overloaded or ScoringFailed."""
        if self.metrics.waiting + len(rows) > self._limit:
            raise Overloaded("too many answers wait to be scored: try again in a moment")
        future: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        self.metrics.waiting += len(rows)
        await self._queue.put((rows, future))
        return await future

    async def run(self) -> None:
        """Score what arrives, until cancelled."""
        while True:
            waiting = [await self._queue.get()]
            await asyncio.sleep(self._gather)
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            await self._answer(waiting)

    async def _answer(
        self, waiting: Sequence[tuple[Sequence[Row], asyncio.Future[list[float]]]]
    ) -> None:
        rows = [row for request, _ in waiting for row in request]
        start = time.monotonic()
        try:
            found = list(await asyncio.to_thread(self._score, rows))
            if not all(map(math.isfinite, found)):
                raise ArithmeticError("a score is no finite number")
        except Exception as error:  # whoever waits is told; the service goes on
            self._tell(waiting, error)
            return
        finally:
            self.metrics.waiting -= len(rows)
        self.metrics.seconds += time.monotonic() - start
        self.metrics.batches += 1
        self.metrics.answers += len(rows)
        scores = iter(found)
        for request, future in waiting:
            mine = [next(scores) for _ in request]
            if not future.done():  # the client may have gone
                future.set_result(mine)

    @staticmethod
    def _tell(
        waiting: Sequence[tuple[Sequence[Row], asyncio.Future[list[float]]]], error: Exception
    ) -> None:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        for _, future in waiting:
            if not future.done():
                future.set_exception(ScoringFailed(why))

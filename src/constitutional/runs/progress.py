"""How far a stage is: a bar on a terminal, a few plain lines in a log, nothing in tests.

Everything goes to standard error, so that standard output holds results only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text


class Advance(Protocol):
    """Tells a task that ``count`` more are done."""

    def __call__(self, count: int = 1) -> None:
        """Count more."""


class Progress:
    """Shows tasks on ``stream`` (standard error unless given).

    On a terminal a live bar with rate and time left. Elsewhere a line when a task starts, at most
    one every ``every`` seconds, and one when it ends.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stream = sys.stderr if stream is None else stream
        self._every = every
        self._clock = clock
        self._bar: RichProgress | None = None

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Advance]:
        """A task of ``total``, of which ``done`` were there before; yields ``advance(count=1)``."""
        if done >= total > 0:
            self._line(f"{title}: {done} of {total}, already there")
            yield _ignore
        elif self._stream.isatty():
            with self._bar_task(title, total, done) as advance:
                yield advance
        else:
            with self._line_task(title, total, done) as advance:
                yield advance

    def note(self, sentence: str) -> None:
        """Tell something that the user should know; without its full stop."""
        self._line(f"Note: {sentence}.")

    @contextmanager
    def _bar_task(self, title: str, total: int, done: int) -> Iterator[Advance]:
        # rich allows one live display at a time: a task within a task is a row of the same
        outer = self._bar
        bar = self._bar = outer or _rich_bar(self._stream)
        if outer is None:
            bar.start()
        row = bar.add_task(title, total=total, completed=done)

        def advance(count: int = 1) -> None:
            bar.advance(row, count)

        try:
            yield advance
        finally:
            if outer is None:
                bar.stop()
                self._bar = None

    @contextmanager
    def _line_task(self, title: str, total: int, done: int) -> Iterator[Advance]:
        lines = _Lines(title, total, done, self._clock, self._every, self._line)
        try:
            yield lines.advance
        except BaseException:
            lines.end("stopped at ")
            raise
        lines.end()

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class QuietProgress(Progress):
    """Shows nothing."""

    def note(self, sentence: str) -> None:
        """Nobody reads it."""

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Advance]:
        """A task that nobody sees."""
        yield _ignore


class _Lines:
    """The plain lines of one task."""

    def __init__(
        self,
        title: str,
        total: int,
        done: int,
        clock: Callable[[], float],
        every: float,
        write: Callable[[str], None],
    ):
        self._title, self._total, self._before, self._done = title, total, done, done
        self._clock, self._every, self._write = clock, every, write
        self._start = self._last = clock()
        there = f", {done} already there" if done else ""
        write(f"{title}: {total} to do{there}")

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = self._clock()
        if now - self._last >= self._every and self._done < self._total:
            self._last = now
            self._write(f"{self._title}: {self._done} of {self._total}{self._pace(now)}")

    def end(self, how: str = "") -> None:
        seconds = self._clock() - self._start
        self._write(f"{self._title}: {how}{self._done} of {self._total} in {seconds:.1f} s")

    def _pace(self, now: float) -> str:
        fresh, seconds = self._done - self._before, now - self._start
        if fresh <= 0 or seconds <= 0:
            return ""
        left = (self._total - self._done) * seconds / fresh
        return f", {_rate(fresh / seconds)}, {_duration(left)} left"


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else _rate(speed), style="progress.data.speed")


def _rich_bar(stream: TextIO) -> RichProgress:
    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
    )


def _rate(per_second: float) -> str:
    if per_second >= 1:
        return f"{per_second:.1f}/s"
    return f"{per_second * 60:.1f}/min"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def _ignore(count: int = 1) -> None:
    pass

"""What a side of a comparison does and tells, in a process of its own."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.speed.floor import Need, Shape


@dataclass(frozen=True)
class Floor:
    """What one round's work needs at least; rates are measured at ``rows`` rows of ``shape``."""

    need: Need
    shape: Shape
    rows: int


@dataclass(frozen=True)
class Measured:
    """One round. ``work`` is in the comparison's unit; ``quality`` what the figures are judged by.

    ``detail`` is what the two sides are compared in, figure by figure; ``parts`` the seconds of
    parts. ``floor`` is ours alone.
    """

    seconds: float
    work: float
    quality: dict[str, float] = field(default_factory=dict)
    detail: dict[str, list[float]] = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)
    floor: Floor | None = None


#: A round, by its number; each is done from the beginning.
Round = Callable[[int], Measured]


@dataclass(frozen=True)
class Side:
    """A side that is ready: models are loaded, the first calls are done.

    ``settings`` are those that it has chosen for itself, such as its best batch size.
    """

    round: Round
    settings: dict[str, float] = field(default_factory=dict)


class Clock:
    """Seconds of what ran in its ``with``."""

    seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Time what follows; a GPU is waited for on both ends."""
        wait_for_gpu()
        start = time.perf_counter()
        yield
        wait_for_gpu()
        self.seconds += time.perf_counter() - start


def wait_for_gpu() -> None:
    """Until all that was asked of the GPU is done, where torch is loaded and has one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def best_of(candidates: list[int], seconds: Callable[[int], float]) -> int:
    """The candidate that takes the least time."""
    return min((seconds(candidate), candidate) for candidate in candidates)[1]


def forget_peak() -> None:
    """Begin the measure of peak memory anew, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb() -> float:
    """The most memory that this process has had, or that its GPU has held for it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return max(int(line.split()[1]) / 1024, children)
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, children)

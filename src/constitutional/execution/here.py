"""A run's work in this process, one block after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from constitutional.engines.pool import Engines
from constitutional.execution.base import R, T, Work
from constitutional.runs import Blocks, Progress, one_by_one


class Here:
    """See :class:`~.base.Execution`."""

    def make(
        self, work: Work[T, R], engines: Engines, blocks: Blocks[T, R]
    ) -> Generator[Sequence[R], None, None]:
        """The records of each missing block, in order."""
        return one_by_one(partial(work, engines=engines))(blocks)

    def train(
        self, training: Callable[..., Any], work: Path, progress: Progress, processes: int = 1
    ) -> None:
        """Call ``training``; several processes are started by :mod:`constitutional.jobs.launch`."""
        if processes > 1:
            raise ValueError("this process is one, and cannot be several")
        training(progress=progress)

    def close(self) -> None:
        """Nothing was started."""

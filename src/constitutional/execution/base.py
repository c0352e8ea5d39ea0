"""The seam between what a stage computes and where that is computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from constitutional.engines.pool import Engines
from constitutional.runs import Blocks, Progress

T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


class Work(Protocol[T_contra, R_co]):
    """What a stage does with a block: data that can be sent, and the same records anywhere.

    Implementations are frozen dataclasses. They name their engines, and find them in ``engines``.
    """

    def __call__(self, block: Sequence[T_contra], engines: Engines) -> Sequence[R_co]:
        """One record for each item of the block, in order."""
        ...


class Execution(Protocol):
    """Does the work of a run's stages."""

    def make(
        self, work: Work[T, R], engines: Engines, blocks: Blocks[T, R]
    ) -> Generator[Sequence[R], None, None]:
        """The records of each missing block, in order."""
        ...

    def train(
        self, training: Callable[..., Any], work: Path, progress: Progress, processes: int = 1
    ) -> None:
        """Call ``training(progress=...)``, which leaves what it makes in the folder ``work``.

        Of several ``processes`` each calls it, in a group (:mod:`constitutional.processes`).
        """
        ...

    def close(self) -> None:
        """Give back what was started for the run."""
        ...

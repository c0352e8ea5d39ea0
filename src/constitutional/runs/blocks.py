"""The blocks of a stage that are still to be made, for whoever makes them: here, or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from constitutional.runs.lines import R

T = TypeVar("T")


@dataclass(frozen=True)
class Blocks(Generic[T, R]):
    """What a stage still lacks: its blocks from number ``first`` on.

    ``made_from`` is a hash of all that the records depend on, so that what was made elsewhere is
    known to be of this stage; ``folder`` is the stage's own.
    """

    stage: str
    folder: Path
    made_from: str
    items: Sequence[T]
    size: int
    first: int
    record_type: type[R]
    #: Numbers of blocks that are there already, behind one that was damaged.
    spared: Collection[int] = ()

    @property
    def count(self) -> int:
        """How many blocks the stage has, those included that are there."""
        return -(-len(self.items) // self.size)

    @property
    def missing(self) -> Sequence[int]:
        """The numbers of the blocks to make, which rise."""
        return [n for n in range(self.first, self.count) if n not in self.spared]

    def __getitem__(self, number: int) -> Sequence[T]:
        """The items of a block."""
        return self.items[number * self.size : (number + 1) * self.size]


#: Makes the missing blocks: the records of each, in the order of their numbers.
Maker = Callable[[Blocks[T, R]], Generator[Sequence[R], None, None]]


def one_by_one(work: Callable[[Sequence[T]], Sequence[R]]) -> Maker[T, R]:
    """Makes each block in this process, when its turn comes."""

    def make(blocks: Blocks[T, R]) -> Generator[Sequence[R], None, None]:
        for number in blocks.missing:
            yield work(blocks[number])

    return make

"""What runs on the cluster: a process that holds engines and makes one block after another.

It is sent the number of a block, reads its items from Parquet, does with them exactly what a local
run does, and writes the records to Parquet. Back come the number, what servers were asked, and what
went wrong, if it is an error of ours: that ends the run, where a lost process is only replaced.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from constitutional.engines.pool import Engines, EngineSpecs
from constitutional.errors import ConstitutionalError, EngineError
from constitutional.execution.base import R, T, Work
from constitutional.execution.driver import Driver
from constitutional.execution.parquet import BlockStore
from constitutional.runs.lines import decode, encode_checked
from constitutional.runs.usage import Usage

#: Ray replaces a lost process without end; a block that takes its process with it has to end.
MOST_TRIES = 5


@dataclass(frozen=True)
class Job(Generic[T, R]):
    """The work of one stage, as it is sent to an actor.

    ``spent`` is what each engine had cost before.
    """

    stage: str
    work: Work[T, R]
    engines: EngineSpecs
    spent: Mapping[str, Usage]
    items: type[T]
    records: type[R]
    store: BlockStore
    driver: Driver


@dataclass(frozen=True)
class Done:
    """What an actor says of a block."""

    block: int
    usage: Mapping[str, Usage]
    error: ConstitutionalError | None = None


class Tally:
    """An account of servers in an actor, see :class:`~constitutional.engines.pool.Account`."""

    def __init__(self, spent: Mapping[str, Usage]):
        self._spent = spent
        self._since: dict[str, Usage] = {}

    def of(self, engine: str) -> Usage:
        """What the engine had cost before this actor."""
        return self._spent.get(engine, Usage())

    def add(self, engine: str, usage: Usage) -> None:
        """Add to what is told with the next block."""
        self._since[engine] = self._since.get(engine, Usage()) + usage

    def take(self) -> dict[str, Usage]:
        """What was asked since this was last called."""
        taken, self._since = self._since, {}
        return taken


class BlockMaker(Generic[T, R]):
    """The class that Ray Data makes actors of. Engines are loaded at the first block and kept."""

    def __init__(self, job: Job[T, R]):
        self._job = job
        self._tally = Tally(job.spent)
        self._engines = Engines(job.engines, self._tally)
        self._ready = False

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of one block's number; gives a pickled :class:`Done`."""
        (number,) = batch["block"].tolist()
        error = None
        try:
            self._make(number)
        except ConstitutionalError as problem:
            error = problem
        return {"done": [pickle.dumps(Done(number, self._tally.take(), error))]}

    def _make(self, number: int) -> None:
        job = self._job
        if job.store.has(number):
            return  # the machine was lost after it had finished the block, and Ray asks again
        if job.store.count_try(number) > MOST_TRIES:
            raise EngineError(
                f"stage {job.stage}: block {number} was begun {MOST_TRIES} times and its process "
                "died each time, most often because a machine runs out of memory: change "
                "ray.actors or models.batch_size, and give the same command to go on"
            )
        if not self._ready:
            job.driver.imitate()
            self._ready = True
        items = [decode(line, job.items) for line in job.store.read_items(number)]
        records = job.work(items, self._engines)
        job.store.write(number, [encode_checked(record, job.records) for record in records])

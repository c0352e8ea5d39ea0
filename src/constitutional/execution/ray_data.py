"""A run's work on a Ray cluster: Ray Data over actors that hold engines.

What is sent is the number of a block of the recipe, for a record depends on its block (which
requests stand beside each other changes float rounding) and on nothing else: not on the number of
actors, nor on which of them makes it, nor when. Finished blocks lie in Parquet files, which outlive
actors, machines and the driver; the driver appends them to the stage's journal in order, so that
every reader finds the bytes of a local run.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from constitutional.engines.pool import Engines
from constitutional.errors import EngineError
from constitutional.execution.actor import BlockMaker, Done, Job
from constitutional.execution.base import R, T, Work
from constitutional.execution.cluster import Cluster
from constitutional.execution.driver import Driver
from constitutional.execution.parquet import BlockStore
from constitutional.recipe import RayCluster
from constitutional.runs import Blocks, Progress
from constitutional.runs.lines import decode, encode_checked

#: How often what is missing is begun anew where Ray itself fails and not a block gets finished.
_FRESH_STARTS = 3


class OnRay:
    """See :class:`~.base.Execution`. Ray is started when a block is missing, and not before."""

    def __init__(self, settings: RayCluster):
        self._settings = settings
        self._cluster = Cluster(settings)

    def make(
        self, work: Work[T, R], engines: Engines, blocks: Blocks[T, R]
    ) -> Generator[Sequence[R], None, None]:
        """The records of each missing block, in order."""
        store = self._store(blocks)
        finished = store.there()
        # what is damaged is made again with what is missing, and not when its turn comes
        for number in sorted(finished & set(blocks.missing)):
            if store.read(number) is None:
                store.drop(number)
                finished.remove(number)
        missing = [number for number in blocks.missing if number not in finished]
        with closing(self._finish(missing, work, engines, blocks, store)) as arriving:
            for number in blocks.missing:
                while number not in finished:
                    finished.add(next(arriving))
                yield _records(store, number, blocks.record_type)
        if self._settings.storage is None:
            store.remove()

    def train(
        self, training: Callable[..., Any], work: Path, progress: Progress, processes: int = 1
    ) -> None:
        """Call ``training`` in workers of Ray Train; how far it is shows in its checkpoints."""
        from constitutional.execution.ray_train import train

        self._cluster.connect()
        train(training, self._settings, work, processes)

    def close(self) -> None:
        """Leave the cluster."""
        self._cluster.close()

    def _store(self, blocks: Blocks[T, R]) -> BlockStore:
        # by what the records were made from: no two runs that differ can take each other's
        made_from, storage = blocks.made_from[:16], self._settings.storage
        if storage is None:
            return BlockStore(str(blocks.folder / "parquet" / made_from))
        if "://" not in storage:
            storage = str(Path(storage).absolute())  # an actor has a working folder of its own
        return BlockStore(f"{storage.rstrip('/')}/{blocks.stage}/{made_from}")

    def _finish(
        self,
        missing: Sequence[int],
        work: Work[T, R],
        engines: Engines,
        blocks: Blocks[T, R],
        store: BlockStore,
    ) -> Generator[int, None, None]:
        """Have the missing blocks made; gives the number of each when it is in the store."""
        if not missing:
            return
        from ray.exceptions import RayError, RayTaskError

        self._cluster.connect()
        item_type = type(blocks.items[0])
        store.write_items(
            [encode_checked(item, item_type) for item in blocks[number]]
            for number in range(blocks.count)
        )
        store.forget_tries()
        job = self._job(work, engines, blocks, item_type, store)
        engines.release()  # loaded for their fingerprints: the actors have need of the memory
        left, fruitless = set(missing), 0
        while left:
            before = len(left)
            try:
                for done in self._dataset(job, sorted(left)):
                    for name, usage in done.usage.items():
                        engines.account.add(name, usage)
                    if done.error is not None:
                        raise done.error
                    left.discard(done.block)
                    yield done.block
            except RayTaskError:
                raise  # a fault of the program: it would come again
            except RayError as error:
                found = left & store.there()
                left -= found
                yield from sorted(found)
                fruitless = fruitless + 1 if len(left) == before else 0
                if fruitless == _FRESH_STARTS:
                    raise _lost(blocks.stage, error) from error

    def _job(
        self,
        work: Work[T, R],
        engines: Engines,
        blocks: Blocks[T, R],
        item_type: type[T],
        store: BlockStore,
    ) -> Job[T, R]:
        named = engines.specs.share(self._settings.actors, engines.account)
        return Job(
            stage=blocks.stage,
            work=work,
            engines=replace(engines.specs, named=named, expected=engines.fingerprints),
            spent={name: engines.account.of(name) for name in named},
            items=item_type,
            records=blocks.record_type,
            store=store,
            driver=Driver.here(),
        )

    def _dataset(self, job: Job[Any, Any], numbers: Sequence[int]) -> Iterator[Done]:
        """What the actors say of each block, as they finish."""
        import ray.data

        # ours tell what the stage does
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        settings = self._settings
        rows = ray.data.from_items(
            [{"block": number} for number in numbers], override_num_blocks=len(numbers)
        )
        made = rows.map_batches(
            BlockMaker,
            fn_constructor_args=(job,),
            batch_size=1,
            # one is enough to go on with: a machine that is lost may leave no room for more
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=settings.actors,
                initial_size=settings.actors,
                max_tasks_in_flight_per_actor=1,
            ),
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
        )
        for row in made.iter_rows():
            yield pickle.loads(row["done"])


def _records(store: BlockStore, number: int, record_type: type[R]) -> list[R]:
    lines: Iterable[bytes] | None = store.read(number)
    if lines is None:
        raise EngineError(
            f"block {number} in {store.url} was damaged after it was written: give the same "
            "command to make it again"
        )
    return [decode(line, record_type) for line in lines]


def _lost(stage: str, error: Exception) -> EngineError:
    said = str(error).strip().splitlines()
    return EngineError(
        f"stage {stage}: the cluster failed {_FRESH_STARTS} times before it had finished a block "
        f"({said[0] if said else type(error).__name__}): see to it, and give the same command to "
        "go on; finished blocks are kept"
    )

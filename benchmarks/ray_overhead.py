"""What Ray costs beside the work: seconds to start, to have actors ready, and for each block.

    python benchmarks/ray_overhead.py [--actors 2] [--blocks 40]

Ray is started on this machine alone, and the work is none (a record is made of each item at once),
so all that is measured is overhead; an actor's start holds the import of torch, but no model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from constitutional.engines.pool import Engines, EngineSpecs
from constitutional.execution.cluster import Cluster
from constitutional.execution.ray_data import OnRay
from constitutional.recipe import RayCluster
from constitutional.runs import Blocks
from constitutional.runs.usage import UsageBook


class Word(BaseModel):
    text: str


@dataclass(frozen=True)
class Nothing:
    """The items as they are."""

    def __call__(self, block: Sequence[Word], engines: Engines) -> Sequence[Word]:
        return block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=40)
    args = parser.parse_args()
    # a part of a CPU, so that this runs on machines with fewer of them than actors
    settings = RayCluster(actors=args.actors, cpus=0.5)
    begin = time.monotonic()
    cluster = Cluster(settings)
    cluster.connect()
    print(f"to start Ray: {time.monotonic() - begin:.1f} s")
    with TemporaryDirectory() as folder:
        for name in ("first", "second"):
            measure(OnRay(settings), Path(folder) / name, args.blocks)
    cluster.close()


def measure(execution: OnRay, folder: Path, count: int) -> None:
    """A stage of ``count`` blocks of 128 items."""
    folder.mkdir()
    items = [Word(text=f"item {number}") for number in range(count * 128)]
    blocks = Blocks("words", folder, "0" * 64, items, 128, 0, Word)
    engines = Engines(EngineSpecs({}, "auto", "cpu", "auto", 1), UsageBook(folder / "usage.json"))
    begin, ends = time.monotonic(), []
    for _ in execution.make(Nothing(), engines, blocks):
        ends.append(time.monotonic())
    each = (ends[-1] - ends[0]) / (count - 1) if count > 1 else 0.0
    print(
        f"a stage: first block after {ends[0] - begin:.1f} s, then {each * 1000:.0f} ms a block, "
        f"its end {time.monotonic() - ends[-1]:.1f} s after the last"
    )


if __name__ == "__main__":
    main()

"""``python -m tests.faults [ONLY ...]``: every fault at full size, or a share of it.

With ``--write`` the figures go into ``docs/faults.json`` and ``docs/reliability.md``;
``--share 0.05`` does a twentieth of the tries. The words after the options choose faults by what
their names begin with. A promise that is broken ends it with 1 and says which.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import torch
from tests.faults.damages import FILES, of_checkpoints, of_finished_runs
from tests.faults.disks import NoMountError, full, read_only
from tests.faults.kills import kills
from tests.faults.others import clock_set_back, two_processes
from tests.faults.stops import stops
from tests.faults.table import as_table, write_json, write_table
from tests.faults.tally import Tally
from tests.faults.world import FaultError, World

DOCS = Path(__file__).parents[2] / "docs"

Fault = Callable[[World, int, int], dict[str, Tally]]


def _killed(world: World, tries: int, seed: int) -> dict[str, Tally]:
    return {f"kill -9 at {kind}": tally for kind, tally in kills(world, tries, seed).items()}


def _one(name: str, fault: Callable[[World, int, int], Tally]) -> Fault:
    def tried(world: World, tries: int, seed: int) -> dict[str, Tally]:
        try:
            return {name: fault(world, tries, seed)}
        except NoMountError:
            return {name: Tally(note="not tried: mounting is not allowed")}

    return tried


def _damaged(kind: str) -> Fault:
    name = f"a damaged file: {kind}"
    return _one(name, lambda world, tries, seed: of_finished_runs(world, kind, tries, seed))


def _stopped(number: signal.Signals) -> Fault:
    return _one(number.name, lambda world, tries, seed: stops(world, number, tries, seed))


#: Each fault, by its name, with its tries at full size.
FAULTS: dict[str, tuple[Fault, int]] = {
    "kill -9": (_killed, 200),
    **{f"a damaged file: {kind}": (_damaged(kind), 12) for kind in FILES},
    "a damaged file: checkpoints": (_one("a damaged file: checkpoints", of_checkpoints), 24),
    "a full disk": (_one("a full disk", full), 12),
    "a read-only disk": (_one("a read-only disk", read_only), 4),
    "a clock set back": (_one("a clock set back", clock_set_back), 8),
    "two processes": (_one("two processes", two_processes), 6),
    "SIGTERM": (_stopped(signal.SIGTERM), 12),
    "SIGINT": (_stopped(signal.SIGINT), 12),
}


def main() -> int:
    asked = _arguments()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=asked.folder))
    tallies: dict[str, Tally] = {}
    try:
        world = World(folder)
        _say(f"the undisturbed run: {world.seconds:.1f} s, {world.operations} operations on files")
        for name, (fault, tries) in FAULTS.items():
            if asked.only and not any(name.startswith(word) for word in asked.only):
                continue
            begun = time.monotonic()
            found = fault(world, max(1, round(tries * asked.share)), asked.seed)
            tallies |= found
            if asked.write:
                write_json(found, DOCS / "faults.json")
                write_table(found, DOCS / "reliability.md")
            _say(f"{name}: done in {time.monotonic() - begun:.0f} s")
    except FaultError as broken:
        print(f"{folder} is left to look at.\n{broken}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(as_table(tallies))
    return int(any(tally.lost or tally.doubled for tally in tallies.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("only", nargs="*", help="faults by what their names begin with")
    parser.add_argument("--share", type=float, default=1.0, help="of the tries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where runs are made; a file system in memory is quick")
    parser.add_argument("--write", action="store_true", help="into docs/")
    return parser.parse_args()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""``kill -9`` at any moment, at operations on files, and while checkpoints are written."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.faults.moments import die_at_operation, die_in_checkpoint
from tests.faults.tally import Tally
from tests.faults.world import Ended, Process, Trick, World, check, safe_blocks

#: A run is killed about so often on its way; the time that it is given grows with each kill, so
#: that it comes to its end.
_PER_RUN = 12


def kills(world: World, tries: int, seed: int) -> dict[str, Tally]:
    """Killed runs that go on by the same command until they are done; by kind of moment."""
    chance = random.Random(seed)
    tallies = {kind: Tally() for kind in ("any moment", "a write or rename", "a checkpoint")}
    kinds = _order(tries)
    runs = 0
    while kinds:
        runs += 1
        out = world.new(f"killed-{runs}")
        _one_run(world, out, kinds, tallies, chance)
    return tallies


def _order(tries: int) -> list[str]:
    """Two in five at any moment, two at an operation, one in a checkpoint; the last first."""
    pattern = ["any moment", "a write or rename"] * 2 + ["a checkpoint"]
    return [pattern[n % len(pattern)] for n in range(tries)][::-1]


def _one_run(
    world: World, out: Path, kinds: list[str], tallies: dict[str, Tally], chance: random.Random
) -> None:
    """One run to its end, killed on its way as ``kinds`` say, which get fewer."""
    before: tuple[str, Ended] | None = None
    patience = 1.0
    suffered: Counter[str] = Counter()
    while True:
        safe = safe_blocks(out)
        kind = kinds[-1] if kinds else ""
        process = _start(world, out, kind, patience, chance)
        ended = process.wait()
        if before is not None:
            kind_before, _ = before
            tallies[kind_before].went_on(ended, safe)
        if not ended.signal:
            check(
                ended.code == 0, f"the command failed after kills {dict(suffered)}:\n{ended.told}"
            )
            check("Traceback" not in ended.told, ended.told)
            break
        check(ended.signal == signal.SIGKILL, f"it died of signal {ended.signal}")
        kinds.pop()
        suffered[kind] += 1
        tallies[kind].tried(ended.stage)
        before, patience = (kind, ended), patience * 1.15
    for kind in suffered:
        tallies[kind].compare(world, out, share=len(suffered))


def _start(world: World, out: Path, kind: str, patience: float, chance: random.Random) -> Process:
    """The command, which will be killed at a moment of this kind, if it gets so far."""
    tricks: tuple[Trick, ...] = ()
    if kind == "a write or rename":
        number = chance.randint(1, round(patience * world.operations / _PER_RUN * 2))
        tricks = (partial(die_at_operation, number, chance.random() < 0.3),)
    elif kind == "a checkpoint":
        number = chance.randint(1, 1 + round(patience * world.checkpoints / _PER_RUN * 2))
        tricks = (partial(die_in_checkpoint, number, chance.uniform(0, 0.1)),)
    process = world.start(out, *tricks)
    if kind == "any moment":
        _kill_after(process, chance.uniform(0, patience * world.seconds / _PER_RUN * 2))
    return process


def _kill_after(process: Process, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not process.over():
        time.sleep(0.005)
    if not process.over():
        process.kill()

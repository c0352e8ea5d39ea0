"""SIGINT and SIGTERM at random moments: the process says what is safe, and ends."""

from __future__ import annotations

import random
import re
import signal
import time

from tests.faults.tally import Tally
from tests.faults.world import Ended, World, check, safe_blocks

_SAID = re.compile(r"Stopped\. (\d+) records? (?:is|are) safe in (\S+)\. Go on with: (.+)")


def stops(world: World, number: signal.Signals, tries: int, seed: int) -> Tally:
    """One run, stopped ``tries`` times on its way and then finished, and another if it ends."""
    chance, tally, runs = random.Random(seed), Tally(), 0
    while tally.tries < tries:
        runs += 1
        out = world.new(f"stopped-{number.name}-{runs}")
        patience = 1.0
        stopped = False
        while True:
            safe = safe_blocks(out)
            process = world.start(out)
            until = time.monotonic() + chance.uniform(0.2, patience * world.seconds / 8)
            while time.monotonic() < until and not process.over():
                time.sleep(0.005)
            given = time.monotonic()
            alive = tally.tries < tries and not process.over() and bool(process.events())
            if alive:
                process.kill(number)
            ended = process.wait()
            if stopped:
                tally.went_on(ended, safe)
            if not alive or ended.code == 0:
                check(ended.code == 0, f"the command failed:\n{ended.told}")
                break
            stopped = True
            patience *= 1.3
            tally.tried(ended.stage)
            tally.stopped.append(time.monotonic() - given)
            _check_said(ended, number, sum(safe_blocks(out).values()), str(out), world)
        tally.compare(world, out)
    return tally


def _check_said(ended: Ended, number: int, safe: int, out: str, world: World) -> None:
    check(ended.code == 128 + number, f"ended with {ended.code}, {ended.signal}:\n{ended.told}")
    said = _SAID.search(ended.told)
    check(said is not None and "Traceback" not in ended.told, f"said:\n{ended.told}")
    assert said is not None
    command = f"cai run {world.recipe} --out {out}"
    check(said[3].strip() == command, f"the command that it says: {said[3]}")
    check(int(said[1]) == safe and said[2] == out, f"{said[0]}, and {safe} are")

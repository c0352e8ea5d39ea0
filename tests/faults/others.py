"""A clock that goes back, and a second process on a run that another one works on."""

from __future__ import annotations

import random
import time

from tests.faults.moments import clock_goes_back
from tests.faults.tally import Tally
from tests.faults.world import World, check, safe_blocks


def clock_set_back(world: World, tries: int, seed: int) -> Tally:
    """In each process the clock goes back, and newer checkpoints have the older times; killed."""
    chance, tally, runs = random.Random(seed), Tally(), 0
    while tally.tries < tries:
        runs += 1
        out, patience, killed = world.new(f"clock-{runs}"), 1.0, False
        while True:
            safe = safe_blocks(out)
            process = world.start(out, clock_goes_back)
            until = time.monotonic() + chance.uniform(0, patience * world.seconds / 3)
            while time.monotonic() < until and not process.over():
                time.sleep(0.005)
            if tally.tries < tries:
                process.kill()
            ended = process.wait()
            if killed:
                tally.went_on(ended, safe)
            if not ended.signal:
                check(ended.code == 0 and "Traceback" not in ended.told, ended.told)
                break
            killed = True
            patience *= 1.3
            tally.tried(ended.stage)
        tally.compare(world, out)
    return tally


def two_processes(world: World, tries: int, seed: int) -> Tally:
    """While one process works on a run, others are given the same command, and refused."""
    chance, tally = random.Random(seed), Tally()
    while tally.tries < tries:
        out = world.new(f"two-{tally.tries}")
        first = world.start(out)
        while not first.over() and tally.tries < tries:
            time.sleep(chance.uniform(0, world.seconds / max(tries, 2)))
            if not (out / "run.json").exists() or first.over():
                continue
            second = world.run(out)
            if first.over():
                break  # it may have come to its end before the second one asked
            check(second.code == 2, f"the second process ended with {second.code}:\n{second.told}")
            check(f"in use by process {first.pid}:" in second.told, second.told)
            check(second.made == [], "the second process worked")
            events = first.events()
            tally.tried(next((e.stage for e in reversed(events) if e.kind == "stage"), "opening"))
        ended = first.wait()
        check(ended.code == 0, ended.told)
        tally.went_on(world.finish(out), safe_blocks(out))
        tally.compare(world, out)
    return tally

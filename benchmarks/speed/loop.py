"""The whole of it: ``cai demo``, and a plain script of the peer's parts at the same settings.

Both are timed as programs, from their start to their end, imports and all. The plain script
(:mod:`benchmarks.speed.plain_loop`) keeps no journal and could not be stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.speed.demo import METRICS, recipe_file, records, run_demo
from benchmarks.speed.measuring import Clock, Measured, Side
from benchmarks.speed.options import Options
from benchmarks.speed.plain_loop import RESULT, quality

from constitutional.runs.records import Answer


def ours(options: Options) -> Side:
    """``cai demo``."""

    def round_(number: int) -> Measured:
        out, clock = options.emptied("loop/ours"), Clock()
        with clock():
            run_demo(out, options)
        seconds = json.loads((out / METRICS).read_text())["seconds"]
        answers = records(out / "stages", "answers_rl_cai", Answer)
        return Measured(clock.seconds, 1, quality(answers), parts=seconds)

    return Side(round_)


def peer(options: Options) -> Side:
    """The plain script."""
    command = [sys.executable, "-m", "benchmarks.speed.plain_loop"]

    def round_(number: int) -> Measured:
        out, clock = options.emptied("loop/peer"), Clock()
        threads, file = str(options.threads), str(recipe_file(options))
        with clock():
            subprocess.run([*command, str(out), threads, file], check=True, stdout=sys.stderr)
        found = json.loads((out / RESULT).read_text())
        return Measured(clock.seconds, 1, found["quality"], parts=found["seconds"])

    return Side(round_)

"""``killed_run.py RECIPE OUT KILLS``: the run, killed so many times on its way and then finished.

Prints how many runs died by the kill. A child is forked from a process that has imported
everything, so that the kills hit the stages and not the imports.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from constitutional.cli.run import run_recipe

recipe, out, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)


def child() -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        run_recipe(recipe, out=out, seed=None, constitution=None)
    except BaseException:
        os._exit(1)
    os._exit(0)


def start() -> int:
    pid = os.fork()
    if pid == 0:
        child()
    return pid


def progress() -> int:
    """Bytes of records and the number of checkpoints: how far the run is."""
    return sum(p.stat().st_size for p in out.rglob("records.jsonl"))


rng = random.Random(0)
died = 0
while died < kills:
    pid = start()
    time.sleep(rng.uniform(0.05, 1.2))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    died += os.WIFSIGNALED(status)
    if os.WIFEXITED(status):
        sys.exit(f"the run ended by itself after {died} kills, with {os.WEXITSTATUS(status)}")
_, status = os.waitpid(start(), 0)
if status != 0:
    sys.exit("the last run failed")
print(died)

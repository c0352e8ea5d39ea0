"""``killed_run.py RECIPE OUT KILLS [GLOB ...]``: the run, killed on its way and then finished.

It is killed KILLS times at random moments, and once as soon as a file of each GLOB is there. Prints
how many runs died by the kill. A child is forked from a process that has imported
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
for wanted in sys.argv[4:]:
    pid = start()
    ended = 0
    while not ended and not any(out.glob(wanted)):
        time.sleep(0.002)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        sys.exit(f"the run ended before {wanted} was there")
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    died += os.WIFSIGNALED(status)
_, status = os.waitpid(start(), 0)
if status != 0:
    sys.exit("the last run failed")
print(died)

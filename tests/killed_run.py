"""``killed_run.py RECIPE WHOLE KILLED KILLS [GLOB ...]``: a run, and the same one with kills.

The run in the folder WHOLE is left alone. The one in KILLED is killed KILLS times at random moments
of its stages, and once as soon as a file of each GLOB is there, and then finished. Prints how many
runs died by the kill. Each is forked from a process that has imported everything: no time goes into
imports, and no kill hits one.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from constitutional.cli.run import run_recipe

for late in (  # what the stages import when they begin
    "constitutional.pipeline",
    "constitutional.preference.harm_model",
    "constitutional.preference.train",
    "constitutional.report.figures",
    "constitutional.rl.ppo",
    "constitutional.supervised.finetune",
    "peft",
    "transformers.models.llama.modeling_llama",
):
    importlib.import_module(late)
gc.freeze()  # a trainer collects garbage when it ends: not all modules again in each child

recipe, whole, out, kills = *map(Path, sys.argv[1:4]), int(sys.argv[4])
torch.set_num_threads(1)


class Run:
    """A process that does the run in the folder ``out``."""

    def __init__(self, out: Path) -> None:
        said, to = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            sys.stdout, sys.stderr = open(os.devnull, "w"), os.fdopen(to, "w")  # noqa: PTH123, SIM115
            try:
                run_recipe(recipe, out=out, seed=None, constitution=None)
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.close(to)
        self.said = os.fdopen(said)

    def wait_for_a_stage(self) -> None:
        """Until something is computed: all inputs are read by then."""
        while (line := self.said.readline()) and " to do" not in line:
            pass

    def kill(self) -> bool:
        """Whether it died by it."""
        os.kill(self.pid, signal.SIGKILL)
        return os.WIFSIGNALED(self.end())

    def end(self) -> int:
        status = os.waitpid(self.pid, 0)[1]
        self.said.close()
        return status


def finish(out: Path) -> float:
    """The seconds from the first stage to the end."""
    run = Run(out)
    run.wait_for_a_stage()
    began = time.monotonic()
    run.said.read()
    if run.end() != 0:
        sys.exit(f"the run in {out} failed")
    return time.monotonic() - began


seconds = finish(whole)
rng = random.Random(0)
died = 0
for _ in range(kills):
    run = Run(out)
    run.wait_for_a_stage()
    # all of them together fall short of the end, on a machine that has become faster too
    time.sleep(rng.uniform(0, 1.2) * seconds / kills)
    died += run.kill()
for wanted in sys.argv[5:]:
    run = Run(out)
    ended = 0
    while not ended and not any(out.glob(wanted)):
        time.sleep(0.002)
        ended, _ = os.waitpid(run.pid, os.WNOHANG)
    if ended:
        sys.exit(f"the run ended before {wanted} was there")
    died += run.kill()
finish(out)
print(died)

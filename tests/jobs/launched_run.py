"""``launched_run.py MODEL WORK``: a finetuning on two processes, for tests that stop it."""

from __future__ import annotations

import sys
from pathlib import Path

from small_jobs import finetuning

from constitutional.jobs.configurations import find_launcher
from constitutional.jobs.launch import launch

model, work = map(Path, sys.argv[1:])
launch(finetuning(model, work, epochs=4.0), find_launcher(2, "ddp"))

"""``fsdp_on_cpu.py JOB.json ...``: jobs with weights sharded over processes of the CPU.

Accelerate shards on GPUs alone. PyTorch's FSDP2 does it on the CPU too, so Accelerate is told that
the CPU is a GPU; all else is as ``accelerate launch`` has it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from constitutional import processes
from constitutional.jobs import read_job
from constitutional.jobs.running import run_job
from constitutional.runs import QuietProgress


def gloo(*_: Any) -> tuple[str, DistributedType]:
    return "gloo", DistributedType.MULTI_GPU


PartialState._prepare_backend = gloo
torch.distributed.init_process_group("gloo")
for path in sys.argv[1:]:
    run_job(read_job(Path(path)), QuietProgress())
processes.leave()

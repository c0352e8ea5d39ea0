"""``killed_prompts.py OUT KILLS ARGUMENT...``: ``cai red-team`` killed so often, then to the end.

Each child is killed once it has stored a further block, so that every kill hits the middle of the
work. Prints how many died.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from constitutional.cli import main
from constitutional.engines import load_engine
from constitutional.microworld import data_file

out, kills, arguments = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
blocks = out / "stages/prompts/blocks.jsonl"
torch.set_num_threads(1)
load_engine(data_file("pretrained"))  # so that no child has to import anything heavy


def start() -> int:
    pid = os.fork()
    if pid == 0:
        sys.argv = ["cai", "red-team", "--out", str(out), *arguments]
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        try:
            main()
        except SystemExit as end:
            os._exit(int(end.code or 0))
        except BaseException:
            os._exit(1)
    return pid


def stored() -> int:
    return blocks.read_bytes().count(b"\n") if blocks.exists() else 0


died = 0
for _ in range(kills):
    before, pid = stored(), start()
    while stored() == before and os.waitpid(pid, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    died += os.WIFSIGNALED(status)
_, status = os.waitpid(start(), 0)
if status != 0:
    sys.exit("the last run failed")
print(died)

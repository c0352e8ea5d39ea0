"""A run so small that tests can kill it: python tiny_run.py MODE FOLDER [ARGUMENT].

MODE records, artifact: run the stage to its end. MODE slow: the same with pauses, for signals.
MODE stuck: one call that never comes back to Python code. MODE hold: keep the folder's lock.
MODE kills: start MODE ARGUMENT in children, kill them at random moments, compare what they leave.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from constitutional.runs import QuietProgress, RunFolder, interruptible, one_by_one

COMMAND = "cai go-on"
RECIPE = {"seed": 7, "engine": {"batch_size": 4}}
ITEMS = [f"item {number} é\n" * (number % 5) for number in range(61)]


class Reply(BaseModel):
    text: str
    length: int


def open_run(folder: Path) -> RunFolder:
    return RunFolder.open(folder, RECIPE, command=COMMAND, tell=lambda message: None)


def records(folder: Path, pause: float = 0.0005) -> None:
    def work(block: Sequence[str]) -> list[Reply]:
        time.sleep(pause)
        return [Reply(text=item.upper(), length=len(item)) for item in block]

    with open_run(folder) as run:
        run.stage_records(
            "reply",
            inputs={"engine": "upper"},
            record_type=Reply,
            items=ITEMS,
            block_size=3,
            make=one_by_one(work),
            progress=QuietProgress(),
        )


def artifact(folder: Path) -> None:
    """Ten steps with a checkpoint each; the result tells how many steps it is the sum of."""

    def make(work: Path) -> None:
        for step in range(10):
            if not (work / f"step-{step}").exists():
                time.sleep(0.001)
                with (folder / "steps.log").open("a") as log:
                    log.write(f"{step}\n")
                (work / f"step-{step}").write_text(f"{step}")
        assert not (work / "result").exists()
        (work / "result" / "deep").mkdir(parents=True)
        for step in range(10):
            (work / "result" / "deep" / f"{step}").write_bytes(bytes([step]) * 1000)
        (work / "result" / "config.json").write_text("{}")

    with open_run(folder) as run:
        run.stage_artifact("model", inputs={"data": "d"}, make=make)


def slow(folder: Path) -> None:
    with interruptible(folder, COMMAND):
        print("ready", flush=True)
        records(folder, pause=0.2)


def stuck(folder: Path) -> None:
    with interruptible(folder, COMMAND):
        print("ready", flush=True)
        # Like a long matrix product, this leaves the interpreter's lock to other threads and does
        # not come back to run a handler: it waits for a lock that this thread holds already.
        libc = ctypes.CDLL(None)
        mutex = ctypes.create_string_buffer(256)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)


def hold(folder: Path) -> None:
    with open_run(folder):
        print("ready", flush=True)
        sys.stdin.read()


def tree(folder: Path, stage: str) -> dict[str, bytes]:
    """The bytes that must not depend on kills: all but times."""
    root = folder / "stages" / stage
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "stage.json" not in path.name
    }


def in_child(work: Callable[[], None], kill_after: float | None = None) -> bool:
    """Run ``work`` in a forked child; True when it ended by itself (and then it must be well)."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "a child failed"
    return True


def kills(folder: Path, mode: str, wanted: int = 40) -> None:
    stage = {"records": "reply", "artifact": "model"}[mode]
    chance = random.Random(12)
    start = time.monotonic()
    assert in_child(partial(MODES[mode], folder / "reference"))
    whole = time.monotonic() - start
    expected = tree(folder / "reference", stage)
    done, runs = 0, 0
    while done < wanted:
        runs += 1
        here = folder / f"run-{runs}"
        patience = whole / 3
        while not in_child(partial(MODES[mode], here), chance.uniform(0, patience)):
            done += 1
            patience *= 1.2  # what cannot be resumed within must get its time at last
        assert tree(here, stage) == expected, f"run {runs} differs"
    print(f"{done} kills in {runs} runs, all equal to {len(expected)} files")


MODES: dict[str, Callable[[Path], None]] = {
    "records": records,
    "artifact": artifact,
    "slow": slow,
    "stuck": stuck,
    "hold": hold,
}

if __name__ == "__main__":
    if sys.argv[1] == "kills":
        kills(Path(sys.argv[2]), sys.argv[3])
    else:
        MODES[sys.argv[1]](Path(sys.argv[2]))

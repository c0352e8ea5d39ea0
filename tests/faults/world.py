"""The small run that faults are done to, its processes, and what is asked of it at the end.

A process is forked from one that has imported everything and runs the command line's own ``main``.
What it does is written line by line to a log outside of its run: which stage begins, which block
has been made, when work on something new begins.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from constitutional.cli import main
from constitutional.microworld import data_file

RECIPE: dict[str, Any] = {
    "name": "faults",
    "constitution": "microworld:constitution.yaml",
    "models": {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"},
    "prompts": {
        "red_team": {"file": "supervised_red_team.jsonl"},
        "helpful": {"file": "supervised_helpful.jsonl"},
    },
    "supervised": {"rounds": 1, "few_shots": 0, "max_new_tokens": 40},
    "finetune": {
        "learning_rate": 3e-4,
        "batch_size": 2,
        "checkpoint_steps": 1,
        "snapshot_steps": 3,
    },
    "rl": {
        "comparisons": {"file": "preference_red_team.jsonl"},
        "contrast": "helpful",
        "pairs": {"max_new_tokens": 16},
        "feedback": {"orders": "both", "few_shots": 0},
        "helpfulness": {"prompts": {"file": "preference_helpful.jsonl"}},
        "held_out": 0.3,
        "pmp": {
            "file": "ranked_answers.jsonl",
            "binarise": False,
            "epochs": 1,
            "learning_rate": 3e-4,
            "batch_size": 2,
            "checkpoint_steps": 1,
        },
        "preference": {"learning_rate": 3e-4, "batch_size": 2, "checkpoint_steps": 1, "epochs": 2},
        "red_team": {"file": "rl_red_team.jsonl"},
        "helpful": {"file": "rl_helpful.jsonl"},
        "ppo": {
            "steps": 4,
            "batch_size": 2,
            "minibatch_size": 2,
            "epochs": 1,
            "max_new_tokens": 8,
            "checkpoint_steps": 1,
            "snapshot_steps": 2,
        },
    },
    "evaluation": {
        "red_team": {"file": "evaluation_red_team.jsonl"},
        "helpful": {"file": "evaluation_helpful.jsonl"},
        "judge": "microworld",
        "max_new_tokens": 16,
    },
    "block": 2,
}

#: The files of prompts: so many lines of the microworld's, as each process reads them anew.
PROMPTS = {
    "supervised_red_team": 6,
    "supervised_helpful": 2,
    "preference_red_team": 6,
    "preference_helpful": 6,
    "ranked_answers": 4,
    "rl_red_team": 4,
    "rl_helpful": 4,
    "evaluation_red_team": 2,
    "evaluation_helpful": 2,
}

#: The stages that train, and where their checkpoints lie.
TRAININGS = {
    "sl_cai": "work/checkpoint-{}",
    "preference_pretraining": "work/checkpoint-{}",
    "preference_model_rl_cai": "work/checkpoint-{}",
    "rl_cai": "work/ppo/step-{}",
}


class Event(NamedTuple):
    """A line of a process's log: seconds of the monotonic clock, what, and of which stage."""

    at: float
    kind: str
    stage: str
    number: int


@dataclass
class Ended:
    """A process that has ended: by which signal (0: none) or with which code, and what it said."""

    pid: int
    signal: int
    code: int
    told: str
    events: list[Event]
    seconds: float
    started: float

    @property
    def stage(self) -> str:
        """Where it was when it ended."""
        return next((e.stage for e in reversed(self.events) if e.kind == "stage"), "opening")

    @property
    def made(self) -> list[tuple[str, int]]:
        """The blocks that it made."""
        return [(e.stage, e.number) for e in self.events if e.kind == "made"]

    @property
    def until_work(self) -> float:
        """Seconds from its start to the first new work; to its end where there was none."""
        new = [event.at for event in self.events if event.kind == "work"]
        return (min(new) - self.started) if new else self.seconds


@dataclass
class World:
    """A place for runs, with the recipe, the undisturbed run, and its outcome."""

    folder: Path
    reference: Path = field(init=False)
    expected: dict[str, bytes] = field(init=False)
    #: How long the undisturbed run took, and how many operations on files and checkpoints it had.
    seconds: float = field(init=False)
    operations: int = field(init=False)
    checkpoints: int = field(init=False)

    def __post_init__(self) -> None:
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
        for name, count in PROMPTS.items():
            lines = data_file(f"prompts/{name}.jsonl").read_text().splitlines(keepends=True)
            (self.folder / f"{name}.jsonl").write_text("".join(lines[:count]))
        self.reference = self.folder / "reference"
        modules = self.folder / "modules"
        ended = self.run(self.reference, tricks=(functools.partial(tell_modules, modules),))
        check(ended.code == 0 and not ended.signal, f"the undisturbed run failed: {ended.told}")
        # what a run imports on its way is imported here, once for all that are forked from now on
        for name in modules.read_text().split():
            importlib.import_module(name)
        shutil.rmtree(self.reference)
        counts = self.folder / "counts"
        ended = self.run(self.reference, tricks=(functools.partial(count_all, counts),))
        self.seconds = ended.seconds
        self.operations, self.checkpoints = map(int, counts.read_text().split())
        self.expected = outcome(self.reference)

    def new(self, name: str) -> Path:
        """A folder that is not there yet."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    def start(self, out: Path, *tricks: Trick) -> Process:
        """The command, in a process of its own."""
        return Process(self.recipe, out, self.folder, tricks)

    def run(self, out: Path, tricks: tuple[Trick, ...] = ()) -> Ended:
        """The command, to its end."""
        return self.start(out, *tricks).wait()

    def finish(self, out: Path, *tricks: Trick) -> Ended:
        """The same command, which has to come to its end."""
        ended = self.run(out, tricks)
        check(ended.code == 0 and not ended.signal, f"the command did not finish:\n{ended.told}")
        check("Traceback" not in ended.told, ended.told)
        return ended


#: Done in a forked process before the command.
Trick = Callable[["Process"], None]


class Process:
    """A command that runs; ``wait`` for its end."""

    _count = 0

    def __init__(self, recipe: Path, out: Path, aside: Path, tricks: tuple[Trick, ...]):
        Process._count += 1
        self.out, self._recipe = out, recipe
        self._told = aside / f"told-{Process._count}"
        self._log = aside / f"log-{Process._count}"
        self.started = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(tricks)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def events(self) -> list[Event]:
        """What it has done so far."""
        if not self._log.exists():
            return []
        rows = [line.split() for line in self._log.read_text().splitlines()]
        return [Event(float(at), kind, stage, int(n)) for at, kind, stage, n in rows]

    def over(self) -> bool:
        """Whether it has ended; ``wait`` still has to be called."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None

    def wait(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self.started
        told, events = self._told.read_text(errors="replace"), self.events()
        self._told.unlink()
        self._log.unlink(missing_ok=True)
        died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        return Ended(self.pid, died, code, told, events, seconds, self.started)

    def note(self, kind: str, stage: str, number: int = 0) -> None:
        """Write down what happens; a line is there as a whole or not at all."""
        os.write(self._log_file, f"{time.monotonic()} {kind} {stage} {number}\n".encode())

    def _child(self, tricks: tuple[Trick, ...]) -> None:
        told = os.open(self._told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(told, 1)
        os.dup2(told, 2)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1) for fd in (1, 2))
        self._log_file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        code: Any = 1
        try:
            watch(self)
            for trick in tricks:
                trick(self)
            sys.argv = ["cai", "run", str(self._recipe), "--out", str(self.out)]
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def watch(process: Process) -> None:
    """Let the process write down its stages, the blocks that it makes, and when new work begins."""
    from constitutional.execution.here import Here
    from constitutional.rl.ppo import PPO
    from constitutional.runs import RunFolder
    from constitutional.training import Steps

    begin, make = RunFolder._begin, Here.make
    train_begin, step = Steps.on_train_begin, PPO._step
    current = ["opening"]

    def beginning(self: Any, name: str, *args: Any) -> Any:
        current[0] = name
        process.note("stage", name)
        return begin(self, name, *args)

    def making(self: Any, work: Any, engines: Any, blocks: Any) -> Iterator[Any]:
        process.note("work", blocks.stage)
        for number, records in zip(blocks.missing, make(self, work, engines, blocks), strict=True):
            process.note("made", blocks.stage, number)
            yield records

    def beginning_training(self: Any, *args: Any, **rest: Any) -> Any:
        process.note("work", current[0])
        return train_begin(self, *args, **rest)

    def stepping(self: Any, number: int) -> Any:
        process.note("work", current[0], number)
        return step(self, number)

    RunFolder._begin, Here.make = beginning, making  # type: ignore[method-assign, assignment]
    Steps.on_train_begin = beginning_training  # type: ignore[method-assign]
    PPO._step = stepping  # type: ignore[method-assign]


def tell_modules(path: Path, process: Process) -> None:
    """When the process ends, write down what it had imported."""

    def write() -> None:
        names = [n for n, m in sys.modules.items() if getattr(m, "__spec__", None) is not None]
        wanted = {"constitutional", "transformers", "torch", "matplotlib", "accelerate"}
        path.write_text("\n".join(n for n in names if n.split(".")[0] in wanted))

    at_end(write)


def at_end(write: Callable[[], None]) -> None:
    """Call ``write`` when the command has been done."""
    from constitutional.report import summary

    report = summary.write_report

    def then(*args: Any, **rest: Any) -> Any:
        done = report(*args, **rest)
        write()
        return done

    summary.write_report = then


def count_all(path: Path, process: Process) -> None:
    """When the command has been done, write down how many operations and checkpoints there were."""
    from tests.faults.moments import at_checkpoints, at_operations

    operations, checkpoints = [0], [0]

    def one(of: list[int]) -> Callable[..., None]:
        def count(*_: Any) -> None:
            of[0] += 1

        return count

    at_operations(process.out, one(operations))
    at_checkpoints(one(checkpoints))
    at_end(lambda: path.write_text(f"{operations[0]} {checkpoints[0]}") and None)


# What a run holds


def safe_blocks(out: Path) -> dict[tuple[str, int], int]:
    """How many records each block that is whole holds, by stage and number.

    By the sidecar's hashes; written anew here, as what is under test is not asked.
    """
    safe: dict[tuple[str, int], int] = {}
    for sidecar in out.glob("stages/*/blocks.jsonl"):
        records = sidecar.with_name("records.jsonl").read_bytes()
        start = 0
        for number, line in enumerate(sidecar.read_bytes().split(b"\n")[:-1]):
            try:
                said = json.loads(line)
                end, digest, count = said["end"], said["sha256"], said["records"]
            except (ValueError, KeyError, TypeError):
                continue
            data = records[start:end]
            if said["block"] == number and hashlib.sha256(data).hexdigest() == digest:
                safe[sidecar.parent.name, number] = count
            start = end
    return safe


def outcome(out: Path) -> dict[str, bytes]:
    """All that must not depend on faults: records, results and metrics, without times."""
    kept = [p for p in out.glob("stages/*/*") if p.name in ("records.jsonl", "blocks.jsonl")]
    kept += [p for p in out.glob("stages/*/result/**/*") if p.is_file()]
    kept += [out / "metrics.json", out / "constitution.yaml", out / "notes.json"]
    return {path.relative_to(out).as_posix(): _without_times(path) for path in sorted(kept)}


def records_of(outcome: dict[str, bytes]) -> Counter[tuple[str, bytes]]:
    """How often each record is there, by its stage."""
    names = [name for name in outcome if name.endswith("records.jsonl")]
    return Counter((name, line) for name in names for line in outcome[name].splitlines())


def _without_times(path: Path) -> bytes:
    if path.name not in ("metrics.json", "training.json"):
        return path.read_bytes()
    return json.dumps(_timeless(json.loads(path.read_bytes()))).encode()


def _timeless(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _timeless(value) for key, value in data.items() if key != "seconds"}
    return [_timeless(item) for item in data] if isinstance(data, list) else data


class FaultError(AssertionError):
    """The promise was broken."""


def check(holds: bool, otherwise: str) -> None:
    """Raise where something does not hold."""
    if not holds:
        raise FaultError(otherwise)

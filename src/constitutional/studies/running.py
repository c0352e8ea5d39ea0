"""The runs of a study: ``cai run`` for each arm and seed, so many of them at once.

OUT/NAME/ARM/SEED.yaml, SEED.log, SEED/    the recipe, what the run said, and the run's folder
OUT/NAME/seconds.json                      processor seconds of each run, over all sessions
OUT/shared/                                stages that runs have in common (runs/sharing.py)
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import yaml

from constitutional.errors import RunFolderError
from constitutional.report.names import printable
from constitutional.runs.files import atomic_write, explain, make_folder
from constitutional.runs.folder import METRICS
from constitutional.studies.reading import Study

SHARED = "shared"
_SECONDS = "seconds.json"
#: The command line in a process of its own, which ends when the study's process is gone.
_CAI = """
import sys
from constitutional.jobs.lifeline import end_with_parent
end_with_parent(int(sys.argv.pop(1)))
from constitutional.cli import main
main()
"""
#: How long a run that was told to stop may take before it is killed. A run stops within 2 s.
_GRACE = 5.0


class Run(NamedTuple):
    """One run of a study."""

    arm: str
    seed: int
    #: Its folder; recipe and log lie beside it.
    folder: Path

    @property
    def name(self) -> str:
        """Such as ``from_sl_cai/101``."""
        return f"{self.arm}/{self.seed}"

    @property
    def recipe(self) -> Path:
        """The recipe as it was written for this run."""
        return self.folder.with_name(f"{self.seed}.yaml")

    @property
    def log(self) -> Path:
        """All that the run has said, over all sessions."""
        return self.folder.with_name(f"{self.seed}.log")


Children = dict[subprocess.Popen[bytes], Run]


class Failure(NamedTuple):
    """A run that ended with an error, and the last line that it said."""

    run: Run
    said: str


def runs_of(study: Study, out: Path, seeds: Sequence[int], arms: Sequence[str]) -> list[Run]:
    """The runs in their order: all seeds of an arm, then the next arm.

    So runs that go on at the same time have different seeds, and an arm finds the stages that it
    shares with an earlier one.
    """
    folder = out / study.name
    return [Run(arm, seed, folder / arm / str(seed)) for arm in arms for seed in seeds]


def is_done(study: Study, run: Run) -> bool:
    """Whether the run is there, whole, and of the recipe that the registration wants.

    Raises RunFolderError where a run of another recipe is in its place.
    """
    if not run.recipe.exists():
        return False
    try:
        there = run.recipe.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        there = ""
    if there != _recipe_text(study, run):
        raise RunFolderError(
            f"{run.folder} is of another recipe than the study now registers for {run.name}: "
            "choose another --out, or remove the folder of the study"
        )
    return (run.folder / METRICS).is_file()


def run_all(
    study: Study,
    runs: Sequence[Run],
    *,
    jobs: int,
    share: Path | None,
    command: str,
    tell: Callable[[str], None],
) -> list[Failure]:
    """Run those that are not done, ``jobs`` at once; returns those that failed.

    SIGINT and SIGTERM are passed on to the runs, which go on with the next command; the program
    then ends with 130 or 143.
    """
    waiting = deque(run for run in runs if not is_done(study, run))
    done = len(runs) - len(waiting)
    if done:
        tell(f"{study.name}: {done} of {len(runs)} runs are there already")
    for run in waiting:
        make_folder(run.folder.parent)
        atomic_write(run.recipe, _recipe_text(study, run).encode())
    failures: list[Failure] = []
    with _running(command, runs) as children:
        while waiting or children:
            while waiting and len(children) < jobs:
                run = waiting.popleft()
                children[_start(run, share)] = run
            time.sleep(0.1)
            for child, run in list(children.items()):
                spent = _spent_by_children()
                if child.poll() is None:
                    continue
                del children[child]
                seconds = _add_seconds(run, _spent_by_children() - spent)
                if child.returncode == 0:
                    done += 1
                    tell(f"{study.name}: {done} of {len(runs)}, {run.name}: {seconds:.0f} s")
                else:
                    failures.append(Failure(run, _last_line(run.log, child.returncode)))
                    tell(f"{study.name}: {run.name} failed: {failures[-1].said}")
    return failures


def seconds_of(folder: Path) -> dict[str, float]:
    """Processor seconds of each run of a study by its name, over all sessions.

    A run has one thread, so they are what it takes on an idle core, however busy the machine was.
    """
    try:
        found: dict[str, float] = json.loads((folder / _SECONDS).read_bytes())
        return found
    except (OSError, ValueError):
        return {}  # no number hangs on it


def _recipe_text(study: Study, run: Run) -> str:
    recipe = study.runnable(run.arm, run.seed)
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100)


def _start(run: Run, share: Path | None) -> subprocess.Popen[bytes]:
    words = [str(os.getpid()), "run", str(run.recipe), "--out", str(run.folder)]
    words += [] if share is None else ["--share", str(share)]
    try:
        with run.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _CAI, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # a run has one core, so that so many of them have so many
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # a Ctrl-C comes to it once, from here
            )
    except OSError as error:
        raise explain(error, run.log) from error


def _spent_by_children() -> float:
    """Processor seconds of all children that have ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _add_seconds(run: Run, seconds: float) -> float:
    """All seconds of the run, with those of the session that has just ended."""
    folder = run.folder.parent.parent
    known = seconds_of(folder)
    known[run.name] = round(known.get(run.name, 0.0) + seconds, 1)
    atomic_write(folder / _SECONDS, json.dumps(known, indent=2).encode() + b"\n")
    return known[run.name]


def _last_line(log: Path, code: int) -> str:
    """The error that a run ended with."""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    lines = log.read_bytes()[-4000:].decode(errors="replace").splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return printable(said.removeprefix("cai: "))


@contextmanager
def _running(command: str, runs: Sequence[Run]) -> Iterator[Children]:
    """The children of the block, none of which outlives it."""
    children: Children = {}
    seen: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:  # a second one finds the runs on their way out
            raise KeyboardInterrupt

    old: dict[int, Any] = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield children
    except KeyboardInterrupt:
        _stop(children)
        done = sum((run.folder / METRICS).is_file() for run in runs)
        print(
            f"Stopped. {done} of {len(runs)} runs are done. Go on with: {command}",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(128 + (seen[0] if seen else signal.SIGINT)) from None
    finally:
        _stop(children)
        for number, handler in old.items():
            signal.signal(number, handler)


def _stop(children: Children) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    until = time.monotonic() + _GRACE
    for child, run in children.items():
        spent = _spent_by_children()
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _add_seconds(run, _spent_by_children() - spent)
    children.clear()

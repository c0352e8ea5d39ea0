"""A run that is served: what it holds, and its index, which a thread keeps up to date."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from constitutional.errors import ConstitutionalError
from constitutional.evaluation.verdicts import Judge
from constitutional.inputs.reading import judge_called
from constitutional.reading import Run
from constitutional.runs.lines import R
from constitutional.web.index import Found, RunIndex
from constitutional.web.index.query import read_record
from constitutional.web.scoring import Scorer

#: Seconds between two looks at a run that may be in progress.
_EVERY = 2.0


class ServedRun:
    """A run with its index, in the folder ``cache``; ``name`` is what its addresses begin with.

    With ``scores`` the run's models score what its records do not say (:mod:`.scoring`).
    Raises RunFolderError where ``path`` is no run.
    """

    def __init__(self, path: Path, cache: Path, name: str, *, scores: bool = False):
        self.run = Run(path)
        self.name = name
        self.title = self.run.name
        self.judge = _judge(self.run)
        self.index = RunIndex(self.run.path, cache, self.judge)
        #: What was wrong with the run when it was last looked at; empty where nothing was.
        self.trouble = ""
        #: Whether it is still being read for the first time.
        self.index_is_new = True
        self._scorer = Scorer(self.run, self.index.path) if scores else None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"index of {name}", daemon=True)

    def start(self) -> None:
        """Begin to keep the index up to date."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._scorer is not None:
            self._scorer.stop()

    def read(self, found: Found, record_type: type[R]) -> R:
        """The record at a place that the index knows."""
        return read_record(self.run.path, found, record_type)

    @property
    def is_scoring(self) -> bool:
        """Whether its models are at work on its records."""
        return self._scorer is not None and self._scorer.is_running

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self.index.update(self._stopped.is_set)
                self.trouble, self.index_is_new = "", False
                if self._scorer is not None and not self._stopped.is_set():
                    self._scorer.go_on()
            except ConstitutionalError as error:
                self.trouble = str(error)
            except (OSError, sqlite3.Error) as error:
                self.trouble = f"the index of this run cannot be kept up to date: {error}"
            self._stopped.wait(_EVERY)


def served(paths: Iterable[Path], cache: Path, *, scores: bool = False) -> list[ServedRun]:
    """The runs at ``paths``, each under a name of its own made from its folder's."""
    runs: list[ServedRun] = []
    for path in paths:
        plain = re.sub(r"[^a-z0-9]+", "-", path.resolve().name.lower()).strip("-") or "run"
        taken = {run.name for run in runs}
        names = (plain, *(f"{plain}-{number}" for number in range(2, len(runs) + 3)))
        name = next(name for name in names if name not in taken)
        runs.append(ServedRun(path, cache, name, scores=scores))
    return runs


def served_run(request: Request) -> ServedRun:
    """The run that a request's address names; 404 where there is none of that name."""
    runs: dict[str, ServedRun] = request.app.state.runs
    name = request.path_params["run"]
    if name not in runs:
        raise HTTPException(404)
    return runs[name]


def all_runs(request: Request) -> Sequence[ServedRun]:
    """All that are served."""
    return [*request.app.state.runs.values()]


def _judge(run: Run) -> Judge | None:
    # the one key that is needed here: a run of another version may have others
    evaluation = run.recipe.get("evaluation") or {}
    return judge_called(evaluation.get("judge"))

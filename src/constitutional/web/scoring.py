"""Scores by a run's own models, which its records do not hold: a process beside the server.

The preference model of each arm scores both answers of every comparison, and the model of the harm
score the first and the last answer of every chain. What is scored is kept in the index.

    python -m constitutional.web.scoring RUN INDEX
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from constitutional.errors import ConstitutionalError, EngineError, RunFolderError
from constitutional.reading import Run
from constitutional.runs.folder import STAGES
from constitutional.runs.records import Chain, Comparison
from constitutional.runs.stage import read_state
from constitutional.web.index.build import add_label
from constitutional.web.index.query import Found, read_record
from constitutional.web.index.schema import reading, transaction, writing

HARM_SCORE = "harm_score"
#: Records that are scored at a time; a page asked for in between sees those that are.
_TOGETHER = 128
_WITHOUT_SCORES = (
    "SELECT row, stage, number, start, size FROM comparisons c WHERE row > :after AND NOT EXISTS"
    " (SELECT 1 FROM scores s WHERE s.arm = :arm AND s.row = c.row) ORDER BY row LIMIT :count"
)
_CHAINS_WITHOUT = (
    "SELECT row, stage, number, start, size FROM chains WHERE NOT scored AND row > :after"
    " ORDER BY row LIMIT :count"
)


class Scorer:
    """The process that scores a run, which is there while there is something to score."""

    def __init__(self, run: Run, index: Path):
        self._run, self._index = run, index
        self._log = index.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is at work."""
        return self._process is not None and self._process.poll() is None

    def go_on(self) -> None:
        """Start it where it does not run and has work. Raises EngineError where it has failed."""
        if self.is_running:
            return
        if self._process is not None and self._process.returncode:
            said = self._log.read_text(errors="replace").strip()
            raise EngineError(f"the records are not scored: {said.rpartition(chr(10))[2]}")
        if has_work(self._run, self._index):
            module = (sys.executable, "-m", "constitutional.web.scoring")
            words = (*module, str(self._run.path), str(self._index))
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(words, stderr=log)

    def stop(self) -> None:
        """End it, and wait until it has ended; what is scored is kept."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


def has_work(run: Run, index: Path) -> bool:
    """Whether there is a model of the run that has not scored all that is in the index."""
    with reading(index) as connection:
        queries = [(_WITHOUT_SCORES, arm) for arm, _ in _arms(run)]
        queries += [(_CHAINS_WITHOUT, "")] if _harm_score(run) else []
        return any(next(_batches(connection, *query), None) for query in queries)


def score(run: Run, index: Path) -> None:
    """Score all that is in the index and is not scored yet."""
    with closing(writing(index)) as connection:
        for arm, folder in _arms(run):
            _score_comparisons(run, connection, arm, folder)
        if harm := _harm_score(run):
            _score_chains(run, connection, harm)


def bucket(value: float) -> str:
    """The part of the scale from 0 to 4 that a harm score is in; predictions may lie outside."""
    low = min(max(int(value // 1), 0), 3)
    return f"{low} to {low + 1}"


def _score_comparisons(run: Run, connection: sqlite3.Connection, arm: str, folder: Path) -> None:
    from constitutional.preference.combined import logistic
    from constitutional.preference.judged import scores_that_fit
    from constitutional.preference.model import PreferenceModel

    model = PreferenceModel.load(folder)
    for found in _batches(connection, _WITHOUT_SCORES, arm):
        records = [read_record(run.path, one, Comparison) for one in found]
        firsts = scores_that_fit(model, [(record.prompt, record.a) for record in records])
        seconds = scores_that_fit(model, [(record.prompt, record.b) for record in records])
        rows = []
        for one, record, a, b in zip(found, records, firsts, seconds, strict=True):
            gap = None
            if a is not None and b is not None and record.prob_a is not None:
                gap = abs(logistic(a - b) - record.prob_a)
            rows.append((arm, one.row, a, b, gap))
        with transaction(connection):
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", rows)


def _score_chains(run: Run, connection: sqlite3.Connection, folder: Path) -> None:
    from constitutional.preference.harm_model import HarmScore

    model = HarmScore.load(folder)
    for found in _batches(connection, _CHAINS_WITHOUT):
        records = [read_record(run.path, one, Chain) for one in found]
        first, last = (
            model.scores_that_fit(
                [record.prompt.add("assistant", record.versions[end].text) for record in records]
            )
            for end in (0, -1)
        )
        buckets: dict[str, list[int]] = {}
        for one, value in zip(found, last, strict=True):
            if value is not None:
                buckets.setdefault(bucket(value), []).append(one.row)
        rows = [(a, b, one.row) for a, b, one in zip(first, last, found, strict=True)]
        with transaction(connection):
            connection.executemany(
                "UPDATE chains SET scored = 1, score_first = ?, score_last = ? WHERE row = ?", rows
            )
            for name, having in buckets.items():
                add_label(connection, "chains", "score", name, having)


def _batches(connection: sqlite3.Connection, query: str, arm: str = "") -> Iterator[list[Found]]:
    """What is to be scored, some records at a time, in the order of the index."""
    after = 0
    while True:
        asked = {"arm": arm, "after": after, "count": _TOGETHER}
        found = [Found(*row) for row in connection.execute(query, asked)]
        if not found:
            return
        after = found[-1].row
        yield found


def _arms(run: Run) -> list[tuple[str, Path]]:
    """The arms whose preference model is made, with its folder."""
    found = ((arm, _result(run, f"preference_model_{arm}")) for arm in run.arms)
    return [(arm, folder) for arm, folder in found if folder is not None]


def _harm_score(run: Run) -> Path | None:
    return _result(run, HARM_SCORE)


def _result(run: Run, stage: str) -> Path | None:
    folder = run.path / STAGES / stage
    try:
        return folder / "result" if read_state(folder).done else None
    except RunFolderError:
        return None


def main() -> None:
    """Score the run and the index that the command line names."""
    from constitutional.jobs.lifeline import end_with_parent

    end_with_parent()
    try:
        score(Run(sys.argv[1]), Path(sys.argv[2]))
    except ConstitutionalError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Studies and their results in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from constitutional.report.names import printable
from constitutional.studies.evidence import Found
from constitutional.studies.reading import Study
from constitutional.studies.results import Results
from constitutional.studies.tables import found_in, notes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def show_studies(found: Sequence[Found], cores: int, console: Console) -> None:
    """Number, name, title, arms, runs, time, and the verdict where there are results."""
    from rich.table import Table

    table = Table(caption=f"time: of all registered runs on {cores} cores")
    for column in ("", "study", "title", "arms", "runs", "time", "verdict"):
        table.add_column(column, overflow="fold")
    for study, results, remarks in found:
        registration = study.registration
        runs = len(registration.arms) * len(registration.seeds)
        verdict: str = "" if results is None else results.verdict
        if remarks and results is None:
            verdict = "results of another registration"
        table.add_row(
            str(registration.number),
            _text(study.name),
            _text(registration.title),
            str(len(registration.arms)),
            f"{results.runs} of {runs}" if results is not None and results.cut_short else str(runs),
            _time(study, results, runs, cores),
            verdict,
        )
    console.print(table)


def show_results(study: Study, results: Results, console: Console) -> None:
    """The rules with what was found, and the verdict."""
    from rich.table import Table

    table = Table(title=_text(study.registration.title))
    for column in ("rule", "found (95% interval)", "holds if", "seeds", "verdict"):
        table.add_column(column, overflow="fold")
    for decision in results.rules:
        found = found_in(study.registration, decision)
        n, bound = str(decision.found.n), decision.bound
        table.add_row(_text(decision.says), found, bound, n, decision.verdict)
    console.print(table)
    for note in notes(results):
        console.print(_text(note))
    console.print(f"Verdict: {results.verdict}")


def _time(study: Study, results: Results | None, runs: int, cores: int) -> str:
    """Of the whole study, from runs that were made, or from what the registration says."""
    seconds = study.registration.seconds
    if results is not None and results.runs:
        seconds = results.seconds / results.runs
    return "not measured" if seconds is None else f"{seconds * runs / cores / 60:.0f} min"


def _text(words: str) -> Text:
    from rich.text import Text

    return Text(printable(words))

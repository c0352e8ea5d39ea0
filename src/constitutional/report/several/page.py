"""The report of several runs; differences are from the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from constitutional.errors import InputError
from constitutional.reading.run import Run
from constitutional.report.blocks import Items, Page, Section
from constitutional.report.one.view import View
from constitutional.report.several import results
from constitutional.report.several.settings import changed, repeat, runs
from constitutional.report.warnings import warnings_of

#: Beyond these, columns are too many to be read.
MOST_RUNS = 6


def page_of_several(found: Sequence[Run]) -> Page:
    """The report of two or more runs. Raises InputError for too many, or one that comes twice."""
    if len(found) > MOST_RUNS:
        raise InputError(f"{len(found)} runs do not fit side by side: name {MOST_RUNS} at most")
    twice = {run.path for run in found if sum(run.path == other.path for other in found) > 1}
    if twice:
        raise InputError(f"{min(twice)} is named twice: name each run once")
    # two runs of one recipe have the same name; a letter fits over a column
    views = {letter: View(run) for letter, run in zip(ascii_uppercase, found, strict=False)}
    names = [f"{letter} {view.run.name}" for letter, view in views.items()]
    sections = [
        runs(views),
        changed(views),
        results.results(views),
        results.ratings(views),
        results.rounds(views),
        results.models(views),
        results.reinforcement(views),
        results.times(views),
        _warnings(views),
        repeat(views),
    ]
    return Page(
        title=", ".join(names),
        subtitle="Runs of Constitutional AI side by side; differences are from the first",
        sections=[section for section in sections if section is not None],
    )


def _warnings(views: Mapping[str, View]) -> Section:
    found = [
        (f"{name}, {warned.about}", warned.said)
        for name, view in views.items()
        for warned in warnings_of(view.run, view.metrics)
    ]
    return Section("warnings", f"Warnings ({len(found)})", [Items(found, "warning")])

"""The whole report of a run, from what a reader wants first to what it rests on."""

from __future__ import annotations

from constitutional.reading.run import Run
from constitutional.report.blocks import Items, Page, Paragraph, Section
from constitutional.report.one.chains import constitution, example_chains
from constitutional.report.one.costs import time_and_cost
from constitutional.report.one.judges import other_judges
from constitutional.report.one.labels import labels, preference_models
from constitutional.report.one.principles import principles
from constitutional.report.one.results import results, rounds, tiles
from constitutional.report.one.training import reinforcement
from constitutional.report.one.view import View
from constitutional.report.one.what import repeat, subtitle, what_was_run
from constitutional.report.warnings import warnings_of


def page_of(run: Run) -> Page:
    """The report of ``run``, finished or in progress. Raises RunFolderError."""
    view = View(run)
    sections = [
        results(view),
        warnings(view),
        what_was_run(view),
        other_judges(view),
        rounds(view),
        labels(view),
        preference_models(view),
        reinforcement(view),
        example_chains(view),
        constitution(view),
        principles(view),
        time_and_cost(view),
        repeat(view),
    ]
    return Page(
        title=run.name,
        subtitle=subtitle(view),
        sections=[section for section in sections if section is not None],
        tiles=tiles(view),
    )


def warnings(view: View) -> Section:
    """Every warning; that there is none is said too."""
    found = warnings_of(view.run, view.metrics)
    block = Items(found, "warning") if found else Paragraph("No warning.")
    return Section("warnings", f"Warnings ({len(found)})", [block])

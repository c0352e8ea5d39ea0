"""What other judges say: the absolute harm score, and an AI judge where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from constitutional.report.blocks import Cell, Paragraph, Pictures, Section, Table
from constitutional.report.elo_figure import elo_caption, elo_panels
from constitutional.report.names import in_order, plain, shown, zero
from constitutional.report.numbers import counted, percent, plain_number, rating
from constitutional.report.one.view import View

_ERRORS = {
    "mean_absolute_error": "mean absolute error",
    "baseline_error": "of always guessing the mean",
    "r_squared": "R squared",
    "pearson": "correlation",
}


def other_judges(view: View) -> Section | None:
    """Both, as far as the recipe asked for them."""
    blocks = [*_harm_score(view.metrics.get("harm_score")), *_ai_judge(view.metrics)]
    return Section("judges", "Harm score and AI judge", blocks) if blocks else None


def _harm_score(found: Mapping[str, Any] | None) -> Iterator[Table]:
    if not found:
        return
    means, report = found["policies"], found["report"]
    rows: list[list[Cell]] = [
        [shown(name), str(means[name]["prompts"]), plain_number(means[name]["mean"], 2)]
        for name in in_order(means)
    ]
    caption = (
        "Mean predicted harm of answers to red-team prompts, from 0 (none) to 4, by a regressor "
        "trained on ratings."
    )
    yield Table(("policy", "prompts", "harm score"), rows, caption)
    rows = [[name, plain_number(report.get(key), 3)] for key, name in _ERRORS.items()]
    n = report.get("n")
    caption = f"How well ratings that were held out are predicted (n = {n})."
    yield Table(("of the harm score", "on held-out ratings"), rows, caption)


def _ai_judge(metrics: Mapping[str, Any]) -> Iterator[Any]:
    found = metrics.get("ai_judge")
    if not found:
        return
    elo = found["elo"]
    panels = elo_panels({"elo": elo})
    if panels:
        caption = f"By the AI judge {plain(found['model'])}. {elo_caption({'elo': elo})}."
        yield Pictures("judged", panels, caption=caption)
    names = in_order(name for ratings in elo.values() for name in ratings)
    rows: list[list[Cell]] = [
        [shown(name), *(rating(ratings.get(name)) for ratings in elo.values())] for name in names
    ]
    head = ["policy", *(f"{goal} Elo" for goal in elo)]
    yield Table(head, rows, f"By the AI judge, {zero(elo)} at 0, intervals over prompts.")
    for goal in elo:
        verdicts = found[goal]
        disagree = percent(verdicts["orders_disagree"])
        yield Paragraph(
            f"{goal}: {counted(verdicts['pairings'], 'pairing')}, {verdicts['same']:,} of the same "
            f"text, {verdicts['ties']:,} ties, {verdicts['unreadable']:,} unreadable; the two "
            f"orders disagree on {disagree.text}% ({disagree.interval}).",
            "note",
        )

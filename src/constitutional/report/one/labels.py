"""The AI labels and the preference models: how right, how sure, decided by what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from constitutional.feedback.accounting import account
from constitutional.reading.so_far import labels_of
from constitutional.report.blocks import Cell, Fold, Paragraph, Pictures, Section, Table
from constitutional.report.calibration_figure import LABELS, PREFERENCE_MODELS, calibration_panels
from constitutional.report.names import plain, shown
from constitutional.report.numbers import NONE, counted, decimal, percent
from constitutional.report.one.view import View

_GOALS = ("harmlessness", "helpfulness")


def labels(view: View) -> Section | None:
    """Accuracy, calibration, position, and all of it by principle."""
    found = {arm: entry["labels"] for arm, entry in view.arms.items() if entry.get("labels")}
    if not found:
        return None
    rows: list[list[Cell]] = [
        [
            shown(arm),
            f"{entry['account']['comparisons']:,}",
            percent(entry["accuracy"]),
            decimal(entry["ece"]),
            percent(entry["position_decided"]),
            percent(entry["account"]["decided_by_position"]),
            percent((entry.get("contrast") or {}).get("differ")),
            str(entry["unreadable"]),
        ]
        for arm, entry in found.items()
    ]
    head = (
        *("arm", "pairs", "accuracy", "ECE", "decided by position", "the same, all pairs"),
        *("telling pairs", "unreadable"),
    )
    caption = (
        "Percent with 95% intervals. Accuracy, calibration error (ECE) and position are of the "
        "pairs on which the judge has a side; a letter that stays the same when the answers change "
        "places was decided by position. Telling: the two answers differ in what they do."
    )
    blocks: list[Any] = [Table(head, rows, caption)]
    panels = [panel for panel in calibration_panels(view.metrics) if panel.title == LABELS]
    if panels:
        how = "How often the judge agrees, by the probability of the preferred answer."
        blocks.append(Pictures("labels", panels, view.drawn("calibration"), how))
    blocks += (_principles(view, arm, found[arm]["account"]) for arm in found)
    causes = {f"{shown(arm)}: {c}": n for arm in found for c, n in _causes(found[arm]).items()}
    if causes:
        said = "; ".join(f"{cause}: {n}" for cause, n in causes.items())
        blocks.append(Paragraph(f"Readings that could not be used: {said}.", "note"))
    return Section("labels", "AI labels", blocks)


def preference_models(view: View) -> Section | None:
    """Accuracy on held-out comparisons, by goal and by who labelled, beside two baselines."""
    found = {
        arm: entry["preference_model"]
        for arm, entry in view.arms.items()
        if entry.get("preference_model")
    }
    if not found:
        return None
    rows: list[list[Cell]] = [
        [shown(arm), *(percent(entry.get(f"{goal}_accuracy")) for goal in _GOALS)]
        for arm, entry in found.items()
    ]
    judged = "Accuracy in percent against the judge, on held-out comparisons without ties."
    head = ["arm", *(f"{goal} (n)" for goal in _GOALS)]
    for row, entry in zip(rows, found.values(), strict=True):
        row[1:] = [_with_n(entry.get(f"{goal}_accuracy")) for goal in _GOALS]
    cards = list(_cards(found))
    caption = (
        "Against the labels themselves. Longer and always A are what one gets for taking the "
        "longer answer, or the first."
    )
    columns = ("comparisons", "n", "accuracy", "longer", "always A", "ECE")
    tables = [Table(head, rows, judged), Table(columns, cards, caption)]
    panels = [p for p in calibration_panels(view.metrics) if p.title == PREFERENCE_MODELS]
    if not panels:
        return Section("preference", "Preference model", tables)
    how = "What the held-out labels say, by the probability of the preferred answer."
    pictures = Pictures("preference", panels, view.drawn("calibration"), how)
    return Section("preference", "Preference model", [*tables, pictures])


def _with_n(estimate: Mapping[str, Any] | None) -> Cell:
    if estimate is None:
        return NONE
    found = percent(estimate)
    return found._replace(interval=f"{found.interval}; n = {estimate['n']}")


def _cards(found: Mapping[str, Mapping[str, Any]]) -> Iterator[list[Cell]]:
    for arm, entry in found.items():
        report = entry["report"]
        named = {"all": report["all"], **report["goals"]}
        named |= {
            f"by {plain(source)}": card
            for source, card in report["sources"].items()
            # a goal that one source labelled is there already
            if card not in report["goals"].values()
        }
        for name, card in named.items():
            yield [
                f"{shown(arm)}, {name}",
                str(card["n"]),
                percent(card["accuracy"]),
                percent(card["longer"]),
                percent(card["always_a"]),
                decimal(card["ece"]),
            ]


def _principles(view: View, arm: str, found: Mapping[str, Any]) -> Fold:
    """By principle; what an older run did not count is counted from its records."""
    uses = found["principles"]
    if any("decided_by_position" not in use for use in uses):
        records = view.run.comparisons.parts.get(labels_of(view.run, arm) or "", ())
        uses = [use.model_dump() for use in account(records).principles]
    right = (found.get("agreement") or {}).get("principles") or {}
    rows: list[list[Cell]] = [
        [
            use["principle"],
            f"{use['uses']:,}",
            percent(right.get(use["principle"])),
            decimal(use["mean_confidence"]),
            percent(use["decided_by_position"]),
            str(use["unreadable"]),
        ]
        for use in uses
    ]
    head = ("principle", "pairs", "accuracy", "confidence", "decided by position", "unreadable")
    caption = (
        "Accuracy: of the pairs on which the judge has a side by this principle. Confidence: mean "
        "probability of the preferred answer. Position: over all pairs read in both orders."
    )
    title = f"{shown(arm)}: {counted(len(rows), 'principle')} one by one"
    return Fold(title, [Table(head, rows, caption)])


def _causes(found: Mapping[str, Any]) -> Mapping[str, int]:
    causes: Mapping[str, int] = found["account"]["causes"]
    return causes

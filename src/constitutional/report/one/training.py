"""Reinforcement learning: the curves, the monitors along it, and the losses of the other models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from constitutional.report.arms import training_sentence
from constitutional.report.blocks import Cell, Fold, Number, Paragraph, Pictures, Section, Table
from constitutional.report.canvas import keys
from constitutional.report.names import shown, stage_title
from constitutional.report.numbers import percent, plain_number
from constitutional.report.one.view import View
from constitutional.report.training_figures import curve_panels, loss_panel, monitor_panels


def reinforcement(view: View) -> Section | None:
    """One curve for each entry of the history, one for each monitor, and what flagged."""
    blocks: list[Any] = []
    for arm, entry in view.arms.items():
        if said := training_sentence(entry.get("training")):
            blocks.append(Paragraph(f"{shown(arm)}: {said}."))
    curves = curve_panels(view.metrics)
    if curves:
        how = "Means over each step's answers; docs/metrics.md defines every entry."
        trained = [arm for arm, entry in view.arms.items() if entry.get("training")]
        drawn = view.drawn("rl_curves")
        blocks.append(Pictures("curves", curves, drawn, how, small=True, keys=keys(trained)))
    monitors = monitor_panels(view.metrics)
    if monitors:
        how = "Percent of answers to held-out prompts, with 95% intervals. Dotted: where it flags."
        watched = [arm for arm, entry in view.arms.items() if entry.get("along")]
        drawn = view.drawn("rl_monitors")
        blocks.append(Pictures("monitors", monitors, drawn, how, small=True, keys=keys(watched)))
    for arm, entry in view.arms.items():
        if entry.get("along"):
            blocks.append(_monitors(arm, entry["along"]))
    losses = list(_losses(view))
    if losses:
        blocks.append(
            Fold("Losses of the other trainings", [Pictures("losses", losses, small=True)])
        )
    return Section("rl", "Reinforcement learning", blocks) if blocks else None


def _monitors(arm: str, along: list[Mapping[str, Any]]) -> Fold:
    """Every monitor at every snapshot."""
    names = list(dict.fromkeys(name for entry in along for name in entry["monitors"]))
    rows: list[list[Cell]] = []
    for name in names:
        found = [entry["monitors"].get(name) for entry in along]
        limits = (monitor["threshold"] for monitor in reversed(found) if monitor)
        rows.append(
            [
                name.replace("_", " "),
                *(_value(name, monitor) for monitor in found),
                _threshold(name, next(limits, None)),
            ]
        )
    steps = [f"step {entry['step']}" for entry in along]
    flags = sum(monitor["flagged"] for entry in along for monitor in entry["monitors"].values())
    caption = "Percent, length in words; distinct 3 is the share of different word triples."
    table = Table(["monitor", *steps, "flags beyond"], rows, caption)
    return Fold(f"{shown(arm)}: all monitors by snapshot ({flags} flagged)", [table])


def _value(name: str, monitor: Mapping[str, Any] | None) -> Number:
    estimate = monitor and monitor["estimate"]
    found = plain_number(estimate) if name == "length" else percent(estimate)
    return found._replace(sure=bool(monitor and monitor["flagged"]))


def _threshold(name: str, threshold: float | None) -> str:
    if threshold is None:
        return "–"
    return f"{threshold:.1f}" if name == "length" else f"{100 * threshold:.1f}"


def _losses(view: View) -> Iterator[Any]:
    for stage in view.run.stages:
        losses = view.run.losses(stage.name)
        if losses:
            yield loss_panel(stage_title(stage.name), losses)

"""``cai constitution diff``: what differs, what it costs to know its effect, and the effect."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from constitutional.cli.tables import cell
from constitutional.report.names import printable

if TYPE_CHECKING:
    from constitutional.evaluation.intervals import Estimate
    from constitutional.instrument.changes import ConstitutionChange
    from constitutional.instrument.diff import Effect, Plan
    from constitutional.instrument.retraining import Retraining
    from constitutional.instrument.shifts import Shift

#: So many flips are listed in the terminal; ``--json`` has all.
_LISTED = 20


def diff(old: str, new: str, on: Path | None, *, yes: bool, retrain: bool, as_json: bool) -> None:
    """See ``cai constitution diff --help``."""
    from constitutional.errors import InputError

    if on is None:
        if retrain or yes:
            raise InputError("--retrain and --yes are about a run: name it with --on RUN")
        _show_changes_alone(old, new, as_json=as_json)
        return
    from constitutional.instrument.diff import plan_diff
    from constitutional.instrument.labelled import labelled_run

    plan = plan_diff(labelled_run(on), old, new)
    if not as_json:
        _print_changes(plan.changes)
        _print_costs(plan, retrain=retrain)
    agreed = yes or not (plan.questions or retrain) or _agreed(as_json=as_json)
    effect = _make(plan, on, retrain=retrain) if agreed else None
    if as_json:
        print(_as_json(plan, effect))
    elif effect is None:
        print("Nothing was asked. Give --yes to label again what changes.")
    else:
        _print_effect(effect)


def _show_changes_alone(old: str, new: str, *, as_json: bool) -> None:
    from constitutional.instrument.changes import changes
    from constitutional.recipe import named_constitution

    found = changes(named_constitution(old), named_constitution(new))
    if as_json:
        print(json.dumps({"changes": found.model_dump(mode="json")}, indent=2))
    else:
        _print_changes(found)


def _agreed(*, as_json: bool) -> bool:
    """Ask on a terminal; elsewhere nobody can agree."""
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    import typer

    return typer.confirm("Label again what changes?")


def _make(plan: Plan, on: Path, *, retrain: bool) -> Effect:
    import shlex

    from transformers.utils import logging

    from constitutional.instrument.diff import make_diff
    from constitutional.instrument.relabelling import DIFFS
    from constitutional.runs import Progress, interruptible

    logging.disable_progress_bar()
    command = "cai " + shlex.join(sys.argv[1:])
    with interruptible(on / DIFFS, command):
        return make_diff(plan, command=command, progress=Progress(), retraining=retrain)


def _as_json(plan: Plan, effect: Effect | None) -> str:
    whole: dict[str, Any] = {
        "changes": plan.changes.model_dump(mode="json"),
        "costs": [cost.model_dump(mode="json") for cost in plan.costs],
        "revisions": plan.revisions and plan.revisions.model_dump(mode="json"),
        "effect": effect and effect.model_dump(mode="json"),
    }
    return json.dumps(whole, indent=2)


def _print_changes(found: ConstitutionChange) -> None:
    rows = [
        (change.principle, change.kind, part.part, part.old or "-", part.new or "-")
        for change in found.principles
        for part in change.parts
    ]
    if rows:
        _table(f"{found.old} to {found.new}", ("principle", "is", "what", "old", "new"), rows)
    else:
        print("No principle was added, removed or changed.")
    if found.moved:
        print("Principles stand in another order, which makes other draws.")
    if found.few_shots:
        print("The few-shot examples differ.")


def _print_costs(plan: Plan, *, retrain: bool) -> None:
    rows = [
        (
            cost.stage,
            f"{cost.comparisons} of {cost.of_comparisons}",
            f"{cost.questions} of {cost.of_questions}"
            + (f", {cost.requests_each} requests each" if cost.requests_each > 1 else "")
            + (f" ({cost.kept} kept)" if cost.kept else ""),
            _known(cost.prompt_tokens),
            _known(cost.new_tokens),
            "?" if cost.seconds is None else f"{cost.seconds:.1f}",
            "?" if cost.usd is None else f"{cost.usd:.4f}",
        )
        for cost in plan.costs
    ]
    _table(
        "To be asked again",
        ("stage", "comparisons", "questions", "tokens read", "written", "seconds", "USD"),
        rows,
        caption="Seconds and dollars are the run's own by question, at most; ? is unknown; kept: "
        "asked by an earlier call.",
    )
    for cost in plan.costs:
        if cost.by_principle:
            moved = ", ".join(f"{name} {n}" for name, n in cost.by_principle.items())
            print(printable(f"{cost.stage}: comparisons that each principle touches: {moved}."))
    if (found := plan.revisions) is not None:
        print(
            f"Revisions are not made again: {found.by_changed} of {found.revisions} used a "
            "principle whose critique half changed."
        )
    if retrain:
        print("The preference models of these labels are trained once more.")


def _known(count: int | None) -> str:
    return "?" if count is None else str(count)


def _print_effect(effect: Effect) -> None:
    for found in effect.shifts:
        _print_shift(found)
    for trained in effect.retraining:
        _print_retraining(trained)


def _print_shift(found: Shift) -> None:
    print(
        f"{found.stage}: {len(found.flips)} of {found.comparisons} comparisons prefer the other "
        f"answer; share of those with a side before and after {_interval(found.flipped)}; "
        f"no side {found.undecided}, no label {found.unlabelled}. "
        f"Correlation of old and new labels {_interval(found.correlation)}."
    )
    flips = [
        (flip.id, f"{flip.old:.3f}", f"{flip.new:.3f}", ", ".join(flip.principles))
        for flip in found.flips[:_LISTED]
    ]
    if flips:
        more = len(found.flips) - len(flips)
        caption = f"and {more} more, which --json lists" if more else ""
        _table("Flips", ("comparison", "old", "new", "moved by"), flips, caption=caption)
    moved = [
        (p.principle, str(p.comparisons), str(p.flips), *map(_interval, _means(p)))
        for p in found.principles
    ]
    if moved:
        heads = ("principle", "n", "flips", "shift of prob_a", "size of it", "distance from 1/2")
        _table("What moved the labels", heads, moved)
    tags = [(t.tag, *map(_interval, (t.old, t.new, t.difference))) for t in found.tags]
    if tags:
        _table("Share of labels that tell, by tag", ("tag", "old", "new", "difference"), tags)


def _means(found: Any) -> Iterator[Estimate | None]:
    yield from (found.shift, found.size, found.confidence)


def _print_retraining(found: Retraining) -> None:
    rows = [
        (each.truth, *map(_interval, (each.old, each.new, each.difference)), str(each.differ))
        for each in found.against
    ]
    _table(
        f"Preference model of {found.arm}: accuracy on {found.held_out} held-out comparisons",
        ("by", "trained on old", "trained on new", "difference", "one alone right"),
        rows,
        caption="One training each: another seed would give other models.",
    )


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    e = estimate
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f}, n {e.n})"


def _table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = ""
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=cell(title), caption=cell(caption) if caption else None)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    Console().print(table)

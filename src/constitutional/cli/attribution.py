"""``cai constitution attribute``: which principles made a policy behave as it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.text import Text

    from constitutional.evaluation.intervals import Estimate
    from constitutional.instrument.attribution import AnswerAttribution, Attribution

_SHOWN = 10
#: A name of so many letters is not broken.
_WIDTH = 20


def attribute(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    policy: Annotated[
        str | None, typer.Option("--policy", help="Whose behaviour; the last policy by default.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Compared with whom; what it was made from.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", help="The id of a prompt: explain the answer to it.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only prompts with this tag (repeatable).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which principles' revisions and labels pushed a policy towards what it does."""
    from constitutional.errors import InputError
    from constitutional.reading import Run
    from constitutional.reading.attributing import answer_attribution_of, attribution_of

    if answer is not None and against is not None:
        raise InputError("--against compares policies, and --answer looks at one: give one of them")
    opened, kinds = Run(run), tuple(kind or ())
    if answer is None:
        change = attribution_of(opened, policy, against, kinds=kinds)
        _print_json(change) if as_json else _show_change(change)
    else:
        one = answer_attribution_of(opened, answer, policy, kinds=kinds)
        _print_json(one) if as_json else _show_answer(one)


def _print_json(found: BaseModel) -> None:
    print(json.dumps(found.model_dump(mode="json"), indent=2))


def _show_change(found: Attribution) -> None:
    from rich.console import Console
    from rich.table import Table

    from constitutional.cli.tables import cell
    from constitutional.report.names import shown

    behaviour = " or ".join(found.behaviour)
    kinds = f" ({', '.join(found.kinds)})" if found.kinds else ""
    console = Console()
    console.print(
        cell(
            f"{shown(found.policy)} less {shown(found.against)}, red-team prompts{kinds}: "
            f"{_points(found.observed)} points more {behaviour} (n = {found.observed.n}, "
            f"{found.differ} differ; read by {found.read_by})."
        )
    )
    table = Table(
        title="What pushed, by principle",
        caption="Push: points of the behaviour that what is learned from would lack without the "
        "principle. Turned: of the answers without it. For it: of the pairs of which one answer "
        f"alone has it. {found.chains:,} chains, {found.pairs:,} such pairs; 95% intervals, "
        "clustered by prompt.",
    )
    table.add_column("principle", overflow="fold", min_width=_WIDTH)
    table.add_column("push", justify="right")
    if "revisions" in found.stages:
        table.add_column("revisions turned", justify="right")
    if "labels" in found.stages:
        table.add_column("labels for it", justify="right")
        table.add_column("margin", justify="right")
    for one in found.principles:
        row: list[str | Text] = [cell(one.principle), _points(one.score)]
        if (revisions := one.revisions) is not None:
            row.append(f"{_share(revisions.towards)} of {revisions.could}")
        if (labels := one.labels) is not None:
            read = labels.pairs - labels.unread
            row += [f"{_share(labels.preferred)} of {read}", _points(labels.margin, brief=True)]
        table.add_row(*row)
    console.print(table)


def _show_answer(found: AnswerAttribution) -> None:
    from rich.console import Console
    from rich.table import Table

    from constitutional.cli.tables import cell
    from constitutional.report.names import shown

    console = Console()
    console.print(cell(f"{found.id}: {found.prompt}"))
    console.print(cell(f"{shown(found.policy)} {found.behaviour} (read by {found.read_by}):"))
    console.print(cell(found.answer))
    revised = [one.shows for one in found.neighbours if one.made == "revision"]
    table = Table(
        title="The nearest training examples, by principle",
        caption=f"{sum(map(bool, revised))} of their {len(revised)} chains end in an answer that "
        f"{found.behaviour}. Weight: the likeness of those that pushed towards it.",
    )
    for name in ("principle", "revisions", "turned it so", "labels", "prefer it", "weight"):
        table.add_column(name, justify="left" if name == "principle" else "right")
    for near in found.principles:
        numbers = (near.revisions, near.turned, near.labels, near.preferred)
        table.add_row(cell(near.principle), *map(str, numbers), f"{near.weight:.2f}")
    console.print(table)
    table = Table(title=f"The nearest {min(_SHOWN, len(found.neighbours))}")
    for name in ("example", "made by", "likeness", "pushed", "prompt"):
        table.add_column(name)
    for one in found.neighbours[:_SHOWN]:
        made = f"{one.made} by {one.principle}"
        pushed = "yes" if one.pushed else "no"
        table.add_row(
            *map(cell, (one.id, made, f"{one.likeness:.2f}", pushed, " ".join(one.prompt.split())))
        )
    console.print(table)


def _points(estimate: Estimate | None, *, brief: bool = False) -> str:
    if estimate is None:
        return "–"
    value, low, high = (100 * end for end in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f}" if brief else f"{value:+.1f} ({low:.1f} to {high:.1f})"


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    value, low, high = (100 * end for end in (estimate.value, estimate.low, estimate.high))
    return f"{value:.0f}% ({low:.0f} to {high:.0f})"

"""``cai constitution merge``: a constitution of many people's statements and votes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from constitutional.instrument.merging import Merged


def merge(
    votes: Annotated[
        Path,
        typer.Argument(help="The folder of a Polis export, or a CSV: participant,statement,vote."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The constitution to write.")] = Path(
        "merged.yaml"
    ),
    min_votes: Annotated[
        int, typer.Option("--min-votes", min=1, help="Votes that a principle needs.")
    ] = 10,
    min_consensus: Annotated[
        float, typer.Option("--min-consensus", min=0, max=1, help="Consensus that it needs.")
    ] = 0.0,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Principles at most.")] = None,
    groups: Annotated[
        int | None, typer.Option("--groups", min=1, help="Opinion groups; else by silhouette.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a weighted constitution of the statements that all opinion groups favour."""
    from constitutional.constitution import save_constitution
    from constitutional.instrument.merging import MergeConfig
    from constitutional.instrument.merging import merge as merged
    from constitutional.instrument.votes import read_votes

    config = MergeConfig(
        min_votes=min_votes, min_consensus=min_consensus, keep=keep, groups=groups, seed=seed
    )
    report, constitution = merged(read_votes(votes), config, votes.name.removesuffix(".csv"))
    save_constitution(constitution, out)
    print(report.model_dump_json(indent=2)) if as_json else _show(report)
    typer.echo(f"{out}: {len(constitution.principles)} principles", err=True)


def _show(report: Merged) -> None:
    from rich.console import Console
    from rich.table import Table

    from constitutional.cli.tables import cell

    people = ", ".join(
        f"{n} in {'no group' if g == 'none' else g}" for g, n in report.people.items()
    )
    left_out = ", ".join(f"{n} {why}" for why, n in sorted(report.left_out.items())) or "none"
    table = Table(
        title=f"{report.statements} statements",
        caption=cell(f"people: {people}; left out: {left_out}"),
    )
    for column in ("statement", "votes", "agree", "by group", "consensus", "merged"):
        table.add_column(column)
    for j in report.judged:
        if j.left_out or j.agree is None:
            continue
        table.add_row(
            cell(j.text),
            str(j.all.votes),
            f"{j.agree.value:.3f} ({j.agree.low:.3f} to {j.agree.high:.3f})",
            ", ".join(f"{group.agrees}/{group.votes}" for group in j.groups),
            f"{j.consensus:.3f}",
            cell(", ".join(j.merged)),
        )
    Console().print(table)
    if report.contradicted:
        print(f"{report.contradicted} votes on merged statements contradict; they are passes.")

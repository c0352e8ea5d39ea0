"""``cai votes``: raters and votes of the arena that ``cai serve`` has."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from constitutional.arena.records import CastVote, Pair

app = typer.Typer(help="Raters and votes of the arena.", no_args_is_help=True)

VotesPlace = Annotated[
    str | None,
    typer.Option(
        "--votes",
        envvar="CAI_VOTES",
        show_envvar=False,
        help="Where votes are kept: a file (SQLite), or postgresql://USER:PASSWORD@HOST/NAME;"
        " also by CAI_VOTES.",
    ),
]
Runs = Annotated[
    list[Path] | None,
    typer.Option("--run", help="Only votes on answers of this run (once for each)."),
]


class Goal(StrEnum):
    """What raters were asked."""

    HARMLESSNESS = "harmlessness"
    HELPFULNESS = "helpfulness"


@app.command(short_help="Make raters, and print a link for each.")
def invite(
    names: Annotated[list[str], typer.Argument(help="The raters' names.")],
    votes: VotesPlace = None,
    address: Annotated[
        str, typer.Option("--address", help="Where raters reach cai serve.")
    ] = "http://127.0.0.1:8020",
) -> None:
    """Make raters, and print a link for each. A link cannot be shown again."""
    from constitutional.arena.opening import open_votes
    from constitutional.arena.raters import invite as made

    database = open_votes(votes)
    for name in names:
        print(f"{name}\t{address.rstrip('/')}/arena/join?rater={made(database, name)}")


@app.command(short_help="Write the votes, one a line, for cai eval elo.")
def export(
    file: Annotated[Path, typer.Argument(help="The file to write (JSONL).")],
    votes: VotesPlace = None,
    run: Runs = None,
) -> None:
    """Write the votes that stand, one a line, as ``cai eval elo`` reads them."""
    from constitutional.arena.export import write_votes

    found = write_votes(file, *_votes(votes, run))
    _tell(found.written, "votes", found.left_out, "whose policies are not recorded", file)


@app.command(short_help="Write pairs with votes as labels, for a preference model.")
def comparisons(
    file: Annotated[Path, typer.Argument(help="The file to write (JSONL).")],
    goal: Annotated[Goal, typer.Option("--goal", help="Votes on which question.")],
    votes: VotesPlace = None,
    run: Runs = None,
) -> None:
    """Write the pairs that were voted on, as ``rl.helpfulness`` of a recipe reads them."""
    from constitutional.arena.export import write_comparisons

    _, cast = _votes(votes, run)
    found = write_comparisons(file, cast, goal.value)
    _tell(found.written, "pairs", found.left_out, "that have ties alone", file)


def _votes(place: str | None, folders: list[Path] | None) -> tuple[list[Pair], list[CastVote]]:
    """The pairs of the database, or those between the runs, and the votes on them that stand."""
    from constitutional.arena.opening import open_votes
    from constitutional.arena.pairs import mark_of
    from constitutional.arena.votes import standing, stored_pairs
    from constitutional.errors import InputError
    from constitutional.reading import Run

    marks = None if folders is None else [mark_of(Run(folder)) for folder in folders]
    with open_votes(place).reading() as connection:
        pairs = list(stored_pairs(connection, marks))
        votes, _ = standing(connection, {pair.id: pair for pair in pairs})
    if not votes:
        raise InputError("there are no votes to write: name another --votes, or other runs")
    return pairs, votes


def _tell(written: int, what: str, left_out: int, why: str, file: Path) -> None:
    more = f", left out {left_out} {why}" if left_out else ""
    print(f"{written} {what} in {file}{more}", file=sys.stderr)

"""The ballot box: judgements are cast, taken back, and counted once however often they are sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, func, select
from sqlalchemy.exc import IntegrityError

from constitutional.arena.database import Database
from constitutional.arena.records import CastVote, Judgement, Pair, Skip
from constitutional.arena.schema import JudgementRow, PairRow, RaterRow, UndoRow, now
from constitutional.errors import InputError
from constitutional.runs.lines import decode

Cast = Literal["counted", "counted before"]


def _standing(*columns: Any) -> Select[Any]:
    """Of the judgements that were not taken back, in the order in which they were cast."""
    undone = select(UndoRow.judgement).where(UndoRow.judgement == JudgementRow.id)
    return select(*columns).where(~undone.exists()).order_by(JudgementRow.number)


# Made once: to make them for each vote would take longer than the database does.
_TAKEN_BACK = (
    select(func.count())
    .select_from(UndoRow)
    .join(JudgementRow, JudgementRow.id == UndoRow.judgement)
    .where(JudgementRow.rater == bindparam("rater"), JudgementRow.pair == bindparam("pair"))
)
_BY_ID = select(
    JudgementRow.rater, JudgementRow.pair, JudgementRow.choice, JudgementRow.shown
).where(JudgementRow.id == bindparam("id"))
_JUDGED = _standing(
    JudgementRow.id,
    JudgementRow.rater,
    JudgementRow.pair,
    JudgementRow.choice,
    JudgementRow.shown,
).where(JudgementRow.rater == bindparam("rater"))
_VERSION = select(
    *(select(func.count()).select_from(row).scalar_subquery() for row in (JudgementRow, UndoRow))
)
_VOTES = _standing(RaterRow.name, JudgementRow.pair, JudgementRow.choice, JudgementRow.shown).join(
    RaterRow, RaterRow.id == JudgementRow.rater
)


class AlreadyJudgedError(InputError):
    """Another judgement of this rater on this pair stands."""


def add_pairs(database: Database, pairs: Iterable[Pair]) -> None:
    """Make the pairs known; those that are there already stay as they are."""
    rows = [
        {"id": pair.id, "run_a": pair.a.run, "run_b": pair.b.run, "content": pair.line}
        for pair in pairs
    ]
    with database.writing() as connection:
        database.insert_missing(connection, PairRow, rows)


def cast(database: Database, judgement: Judgement) -> Cast:
    """Count a judgement. When this returns it is on the disk.

    One that comes again with the same id is counted once. Raises InputError for an id that is no
    UUID or that stands for another judgement, and for a pair that is not known;
    AlreadyJudgedError where this rater's judgement on the pair stands under another id.
    """
    id_ = _checked(judgement.id)
    row = {**judgement._asdict(), "id": id_, "at": now()}
    try:
        with database.writing() as connection:
            row["round"] = connection.scalar(_TAKEN_BACK, row)
            if database.insert_new(connection, JudgementRow, row):
                return "counted"
            there = connection.execute(_BY_ID, row).one_or_none()
    except IntegrityError as error:
        raise InputError("the vote names a pair or a rater that is not known") from error
    if there is None:
        raise AlreadyJudgedError("you have judged this pair already: undo that vote to change it")
    if tuple(there) != judgement[1:]:
        raise InputError("a vote with this id was cast before, and it was another one")
    return "counted before"


def take_back(database: Database, rater: int, judgement: str) -> None:
    """Undo a judgement of this rater; once more does nothing more. Raises InputError for others'.

    The judgement stays in the database, with the undo beside it.
    """
    id_ = _checked(judgement)
    with database.writing() as connection:
        whose = connection.scalar(_BY_ID, {"id": id_})
        if whose != rater:
            raise InputError("there is no vote of yours to take back here")
        database.insert_new(connection, UndoRow, {"judgement": id_, "at": now()})


def judged(connection: Connection, rater: int) -> list[Judgement]:
    """All judgements of a rater that stand, in the order in which they were cast."""
    rows = connection.execute(_JUDGED, {"rater": rater})
    return [Judgement._make(row) for row in rows]


def version(connection: Connection) -> str:
    """Changes with everything that is cast or taken back, for nothing is ever deleted."""
    made, undone = connection.execute(_VERSION).one()
    return f"{made}-{undone}"


def standing(
    connection: Connection, pairs: Mapping[str, Pair]
) -> tuple[list[CastVote], list[Skip]]:
    """The votes on ``pairs`` that stand, in order, and what was skipped."""
    votes, skips = [], []
    for rater, pair, choice, shown in connection.execute(_VOTES):
        if pair not in pairs:
            continue
        if choice == "skip":
            skips.append(Skip(rater, pairs[pair]))
        else:
            votes.append(CastVote(rater, pairs[pair], choice, shown))
    return votes, skips


def stored_pairs(connection: Connection, runs: Collection[str] | None = None) -> Iterator[Pair]:
    """The pairs between ``runs`` (their marks), or all that the database knows."""
    wanted = select(PairRow.content)
    if runs is not None:
        wanted = wanted.where(PairRow.run_a.in_(runs), PairRow.run_b.in_(runs))
    for line in connection.scalars(wanted):
        yield decode(line.encode(), Pair)


def _checked(id_: str) -> str:
    try:
        return str(UUID(id_))
    except ValueError:
        raise InputError(f"a vote needs a UUID as its id, found {id_!r:.40}") from None

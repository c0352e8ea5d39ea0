"""Asking an index: which records match, in which order, and where each of them is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from constitutional.errors import RunFolderError
from constitutional.feedback.verdicts import sigmoid as logistic
from constitutional.runs.files import explain
from constitutional.runs.folder import STAGES
from constitutional.runs.journal import RECORDS
from constitutional.runs.lines import R, decode
from constitutional.web.index.schema import reading

Table = Literal["chains", "comparisons"]

#: The orders of each table, by name; the first is the order of the journal. What has no value
#: comes last.
ORDERS: Mapping[Table, Mapping[str, str]] = {
    "chains": {
        "number": "t.row",
        "changes": "t.changes DESC, t.row",
        "score": "t.score_last DESC NULLS LAST, t.row",
    },
    "comparisons": {
        "number": "t.row",
        "orders": "t.order_gap DESC NULLS LAST, t.row",
        "principles": "t.principle_gap DESC NULLS LAST, t.row",
        "pm": "s.gap DESC NULLS LAST, t.row",
    },
}
#: The letters that a word begins with, at least, where a star stands for the rest.
_BEGINNING = 3
_WORD = re.compile(r'"([^"]*)"|(\S+)')


@dataclass(frozen=True)
class Where:
    """Which records are asked for: ``text`` is what a person typed, ``labels`` are by facet."""

    text: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """Records of a table in an order; ``arm`` is the one whose preference model scores."""

    table: Table
    where: Where
    order: str = "number"
    arm: str | None = None


class Found(NamedTuple):
    """Where a record is: line ``number`` of its stage's journal, ``size`` bytes from ``start``."""

    row: int
    stage: str
    number: int
    start: int
    size: int


class Page(NamedTuple):
    """Some of the records that match, and how many do."""

    total: int
    records: Sequence[Found]


def search(index: Path, query: Query, *, first: int, count: int) -> Page:
    """The matching records from number ``first`` on, in the order that is asked for."""
    table, values = query.table, [query.arm] if query.order == "pm" else []
    with reading(index) as connection:
        narrowed = _narrow(connection, query)
        counted = "found" if narrowed else table
        (total,) = connection.execute(f"SELECT count(*) FROM {counted}").fetchone()
        source = f"FROM {table} t"
        if query.order == "pm":
            source += " LEFT JOIN scores s ON s.row = t.row AND s.arm = ?"
        if narrowed:
            source += " WHERE t.row IN (SELECT row FROM found)"
        rows = connection.execute(
            f"SELECT t.row, t.stage, t.number, t.start, t.size {source}"
            f" ORDER BY {ORDERS[table][query.order]} LIMIT ? OFFSET ?",
            (*values, count, first),
        )
        return Page(total, [Found(*row) for row in rows])


def find(index: Path, table: Table, stage: str, number: int) -> Found | None:
    """A record by its stage and number."""
    with reading(index) as connection:
        row = connection.execute(
            f"SELECT row, stage, number, start, size FROM {table} WHERE stage = ? AND number = ?",
            (stage, number),
        ).fetchone()
    return None if row is None else Found(*row)


def read_record(run: Path, found: Found, record_type: type[R]) -> R:
    """The record at a place that an index of the run knows. Raises RunFolderError."""
    path = run / STAGES / found.stage / RECORDS
    try:
        with path.open("rb") as stream:
            stream.seek(found.start)
            return decode(stream.read(found.size), record_type)
    except OSError as error:
        raise explain(error, path) from error
    except ValidationError as error:
        raise RunFolderError(
            f"{path}, line {found.number}: holds no {record_type.__name__} of this version, or the"
            " stage is being made again"
        ) from error


def facets(index: Path, table: Table) -> dict[str, list[tuple[str, int]]]:
    """The values of each facet and how many records have them, the most frequent first."""
    found: dict[str, list[tuple[str, int]]] = {}
    with reading(index) as connection:
        for facet, value, records in connection.execute(
            "SELECT facet, value, records FROM labels WHERE kind = ?"
            " ORDER BY facet, records DESC, value",
            (table,),
        ):
            found.setdefault(facet, []).append((value, records))
    return found


def counts(index: Path) -> dict[str, int]:
    """How many records of each stage are in the index."""
    with reading(index) as connection:
        return dict(connection.execute("SELECT name, records FROM stages"))


class Score(NamedTuple):
    """The raw scores of both answers by an arm's preference model; only differences tell."""

    arm: str
    a: float
    b: float
    gap: float | None

    @property
    def probability(self) -> float:
        """How probably the preference model has a better than b."""
        return logistic(self.a - self.b)


def scored_arms(index: Path) -> list[str]:
    """The arms whose preference models have scored comparisons."""
    with reading(index) as connection:
        return [arm for (arm,) in connection.execute("SELECT DISTINCT arm FROM scores ORDER BY 1")]


def scores(index: Path, rows: Sequence[int]) -> dict[int, list[Score]]:
    """The scores of comparisons, by row."""
    found: dict[int, list[Score]] = {}
    marks = ", ".join("?" * len(rows))
    with reading(index) as connection:
        for row, *score in connection.execute(
            "SELECT row, arm, a, b, gap FROM scores"
            f" WHERE a IS NOT NULL AND b IS NOT NULL AND row IN ({marks}) ORDER BY arm",
            rows,
        ):
            found.setdefault(row, []).append(Score(*score))
    return found


def as_match(text: str) -> str:
    """What a person typed as a full-text query: all words, "phrases in quotes", and begin* of one.

    A beginning has three letters or more: fewer are those of half of all words, and take a second.

    Every word is quoted, so that nothing typed is read as an operator.
    """
    terms = []
    for phrase, word in _WORD.findall(text):
        prefix = not phrase and word.endswith("*") and len(word) > _BEGINNING
        # a zero byte would end the query for SQLite
        plain = (phrase or word.rstrip("*")).replace('"', "").replace("\0", " ")
        if re.search(r"\w", plain):
            terms.append(f'"{plain}"' + "*" * prefix)
    return " ".join(terms)


def _narrow(connection: sqlite3.Connection, query: Query) -> bool:
    """Put the rows that match into the table ``found`` of this connection; False where all do.

    They are asked for once, for their number and for a page of them: what takes its time is text.
    """
    table, row = query.table, "row"
    conditions: list[str] = []
    values: list[str] = []
    if query.where.text.strip():
        row = "+rowid"  # the sign: else each row of a label is looked up in the text
        # signs without a word match nothing
        match = as_match(query.where.text) or '""'
        conditions.append(f"SELECT rowid FROM {table}_text WHERE {table}_text MATCH ?")
        values.append(match)
    for facet, value in query.where.labels.items():
        conditions.append(
            "SELECT row FROM labelled WHERE label ="
            " (SELECT label FROM labels WHERE kind = ? AND facet = ? AND value = ?)"
        )
        values += [table, facet, value]
    if not conditions:
        return False
    first, *others = conditions
    narrowed = first + "".join(f" AND {row} IN ({more})" for more in others)
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TEMP TABLE found (row INTEGER PRIMARY KEY)")
    connection.execute(f"INSERT INTO found {narrowed}", values)
    return True

"""Statements and votes of many people, from the CSV files of Polis or in a long form.

A Polis export is a folder with ``comments.csv`` (``comment-id``, ``comment-body``, ``moderated``)
and ``participants-votes.csv``, a row for each participant with a column for each statement: 1
agrees, -1 disagrees, 0 passes, nothing was not voted on. The long form has the columns
``participant``, ``statement`` (its text) and ``vote``. What stands in a cell is data: nothing in it
is run, followed or obeyed.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from constitutional.archives import HEAD, packed, unpack_it
from constitutional.errors import InputError

COMMENTS, MATRIX = "comments.csv", "participants-votes.csv"
#: A longer statement is no principle; it is left out and counted.
LONGEST = 1000

_VOTES = {
    **dict.fromkeys(("1", "1.0", "+1", "agree"), 1),
    **dict.fromkeys(("-1", "-1.0", "disagree"), -1),
    **dict.fromkeys(("0", "0.0", "-0.0", "pass"), 0),
}
_LONG = ("participant", "statement", "vote")


class Statement(NamedTuple):
    """A statement that was voted on; ``text`` is one line, without outer blanks."""

    id: str
    text: str


class Ballots(NamedTuple):
    """Who voted what. ``votes`` (participants, statements) are 1, -1 and 0, and 0 where ``cast``
    is False: whoever reads one reads the other. ``left_out`` counts, with the reason.
    """

    statements: tuple[Statement, ...]
    participants: tuple[str, ...]
    votes: NDArray[np.int8]
    cast: NDArray[np.bool_]
    left_out: dict[str, int]


def read_votes(source: str | Path) -> Ballots:
    """The statements and votes of a Polis export (its folder) or of a file in the long form.

    Statements that moderators took out, and those without words or beyond 1000 characters, are left
    out and counted. Raises InputError with file and line for a row that cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return _without(_polis(path))
    if path.name in (COMMENTS, MATRIX):
        raise InputError("is one of two files of a Polis export: give their folder", path=path)
    return _without(_long(path))


class _Read(NamedTuple):
    ballots: Ballots
    #: The statements that are left out, by place, with the reason.
    bad: dict[int, str]


def _without(read: _Read) -> Ballots:
    found, bad = read
    kept = [number for number in range(len(found.statements)) if number not in bad]
    if not kept:
        reasons = ", ".join(f"{n} {why}" for why, n in sorted(Counter(bad.values()).items()))
        raise InputError("no statement is left" + (f": left out {reasons}" if reasons else ""))
    return Ballots(
        tuple(found.statements[number] for number in kept),
        found.participants,
        found.votes[:, kept],
        found.cast[:, kept],
        {**found.left_out, **Counter(bad.values())},
    )


def _polis(folder: Path) -> _Read:
    statements: dict[str, Statement] = {}
    bad: dict[int, str] = {}
    comments, matrix = folder / COMMENTS, folder / MATRIX
    for line, row in _rows(comments, ("comment-id", "comment-body")):
        name = row["comment-id"].strip()
        if not name or name in statements:
            told = f"the statement {name!r} is there already" if name else "'comment-id' is empty"
            raise InputError(told, path=comments, line=line)
        moderated = row.get("moderated", "0").strip()
        if moderated not in ("-1", "0", "1"):
            raise InputError(
                f"'moderated' must be -1 (out), 0 or 1 (in), found {moderated!r:.40}",
                path=comments,
                line=line,
            )
        statement = _statement(name, row["comment-body"])
        reason = "moderated out" if moderated == "-1" else _fault(statement)
        if reason:
            bad[len(statements)] = reason
        statements[name] = statement
    if not statements:
        raise InputError("holds no statement", path=comments)
    votes, participants = _matrix(matrix, list(statements))
    return _Read(_ballots(tuple(statements.values()), participants, votes, {}), bad)


def _matrix(path: Path, ids: Sequence[str]) -> tuple[list[list[int | None]], list[str]]:
    """The votes of each participant by statement, and the participants."""
    known = set(ids)
    votes: list[list[int | None]] = []
    participants: list[str] = []
    agreed = disagreed = ones = others = 0
    seen: set[str] = set()
    for line, row in _rows(path, ("participant",)):
        if not participants:
            _check_columns(path, row, known)
        name = row["participant"].strip()
        if not name or name in seen:
            told = f"the participant {name!r} is there already" if name else "no 'participant'"
            raise InputError(told, path=path, line=line)
        seen.add(name)
        mine = [_vote(row[i], path, line, f"statement {i}") if i in row else None for i in ids]
        votes.append(mine)
        participants.append(name)
        ones, others = ones + mine.count(1), others + mine.count(-1)
        agreed += _count(row.get("n-agree", ""))
        disagreed += _count(row.get("n-disagree", ""))
    if not participants:
        raise InputError("holds no participant", path=path)
    if (ones, others) == (disagreed, agreed) and agreed != disagreed:
        raise InputError(
            "its votes of 1 are as many as it counts disagreements (n-disagree), so signs are the "
            "other way round: write 1 for agree and -1 for disagree",
            path=path,
        )
    return votes, participants


def _check_columns(path: Path, row: Mapping[str, str], known: set[str]) -> None:
    """Every column that is a number must be a statement's."""
    strangers = [name for name in row if name.strip().isdigit() and name not in known]
    if strangers:
        raise InputError(
            f"column {strangers[0]!r} is of no statement in {COMMENTS}", path=path, line=1
        )


def _long(path: Path) -> _Read:
    places: dict[str, int] = {}
    cast: dict[tuple[str, int], int] = {}
    statements: list[Statement] = []
    bad: dict[int, str] = {}
    again: Counter[str] = Counter()
    for line, row in _rows(path, _LONG):
        name = row["participant"].strip()
        text = " ".join(row["statement"].split())
        if not name or not text:
            missing = "participant" if not name else "statement"
            raise InputError(f"{missing!r} is empty", path=path, line=line)
        place = places.setdefault(text, len(places))
        if place == len(statements):
            statements.append(_statement(str(place + 1), text))
            if reason := _fault(statements[-1]):
                bad[place] = reason
        vote = _vote(row["vote"], path, line, "'vote'")
        if vote is None:
            raise _no_vote("", path, line, "'vote'")
        if (name, place) in cast:
            again["votes that the same participant replaced later"] += 1
        cast[name, place] = vote
    if not cast:
        raise InputError("holds no vote", path=path)
    participants = list(dict.fromkeys(name for name, _ in cast))
    votes = [[cast.get((name, n)) for n in range(len(statements))] for name in participants]
    return _Read(_ballots(tuple(statements), participants, votes, dict(again)), bad)


def _ballots(
    statements: tuple[Statement, ...],
    participants: Sequence[str],
    votes: Sequence[Sequence[int | None]],
    left_out: dict[str, int],
) -> Ballots:
    shape = (len(participants), len(statements))
    numbers = [[vote or 0 for vote in row] for row in votes]
    cast = [[vote is not None for vote in row] for row in votes]
    return Ballots(
        statements,
        tuple(participants),
        np.array(numbers, dtype=np.int8).reshape(shape),
        np.array(cast, dtype=bool).reshape(shape),
        left_out,
    )


def _statement(name: str, text: str) -> Statement:
    return Statement(name, " ".join(text.split()))


def _fault(statement: Statement) -> str:
    if not any(c.isalpha() for c in statement.text):
        return "without words"
    return f"longer than {LONGEST} characters" if len(statement.text) > LONGEST else ""


def _vote(cell: str, path: Path, line: int, where: str) -> int | None:
    """1, -1, 0; None for an empty cell."""
    word = cell.strip().lower()
    if not word:
        return None
    if word not in _VOTES:
        raise _no_vote(cell, path, line, where)
    return _VOTES[word]


def _no_vote(cell: str, path: Path, line: int, where: str) -> InputError:
    return InputError(
        f"{where} must be 1 or agree, -1 or disagree, 0 or pass, found {cell!r:.40}",
        path=path,
        line=line,
    )


def _count(cell: str) -> int:
    return int(cell) if cell.strip().isdecimal() else 0


def _rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows below the header with the lines in which they begin. Raises InputError."""
    try:
        with path.open("rb") as file:
            if kind := packed(file.read(HEAD)):
                raise InputError(unpack_it(kind), path=path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, needed)
            ended = reader.line_num
            for row in reader:
                line, ended = ended + 1, reader.line_num
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"expected {len(header)} cells as in the header, found {len(row)}",
                        path=path,
                        line=line,
                    )
                yield line, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", path=path, line=reader.line_num) from None
    except UnicodeDecodeError:
        raise InputError("expected text in UTF-8, found other bytes", path=path) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot be read ({reason})", path=path) from None


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        raise InputError(
            f"expected the columns {', '.join(needed)}, found no {missing[0]!r}", path=path, line=1
        )
    twice = [name for name, n in Counter(header).items() if n > 1 and name]
    if twice:
        raise InputError(f"the column {twice[0]!r} is there twice", path=path, line=1)

"""Making an index, and keeping it beside a live run: block by block, as these are finished."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from constitutional.evaluation.verdicts import Judge
from constitutional.runs.folder import STAGES
from constitutional.runs.journal import BEGINNING, BLOCKS, Position, new_blocks
from constitutional.runs.lines import decode
from constitutional.runs.manifest import read_run
from constitutional.runs.records import Chain, Comparison
from constitutional.web.index.rows import (
    CHAIN_COLUMNS,
    COMPARISON_COLUMNS,
    Entry,
    Label,
    chain_entry,
    comparison_entry,
)
from constitutional.web.index.schema import open_for_writing, removed, transaction

CHAIN_STAGES = ("critique_revision",)
COMPARISON_STAGES = (
    "comparisons_ai",
    "comparisons_ai_cot",
    "comparisons_helpfulness",
    "comparisons_harmlessness",
    "comparisons_human",
)
#: Records in one transaction; a page asked for in between sees those that are there.
_TOGETHER = 2_000


class Kind(NamedTuple):
    """A kind of record: its table, the stages that make it, and how a line is read."""

    table: str
    stages: tuple[str, ...]
    columns: tuple[str, ...]
    entry: Callable[[bytes], Entry]


class RunIndex:
    """The index of one run. :meth:`update` writes; whatever reads opens the file on its own.

    ``judge`` reads the ends of each chain, where the run has a judge that can be asked here.
    """

    def __init__(self, run: Path, cache: Path, judge: Judge | None = None):
        self.run = run.resolve()
        name = sha256(str(self.run).encode()).hexdigest()[:24]
        self.path = cache.resolve() / f"{name}.sqlite"
        self._kinds = (
            Kind(
                "chains",
                CHAIN_STAGES,
                CHAIN_COLUMNS,
                lambda line: chain_entry(decode(line, Chain), judge),
            ),
            Kind(
                "comparisons",
                COMPARISON_STAGES,
                COMPARISON_COLUMNS,
                lambda line: comparison_entry(decode(line, Comparison)),
            ),
        )
        with closing(self._open()):
            pass  # so that whoever reads finds tables

    def update(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Read what the run has finished since the last time; returns how many records.

        ``stop`` is asked now and then, and ends it early.
        """
        added = 0
        with closing(self._open()) as connection:
            for kind in self._kinds:
                for stage in kind.stages:
                    while count := _Stage(connection, self.run, kind, stage).read_some():
                        added += count
                        if stop():
                            return added
        return added

    def _open(self) -> sqlite3.Connection:
        manifest, _ = read_run(self.run)
        connection = open_for_writing(self.path, manifest.created)
        if _has_changed(connection, self.run):
            # a stage was made again: its old records are in every table
            connection.close()
            connection = open_for_writing(removed(self.path), manifest.created)
        return connection


class _Stage:
    """A stage's journal on its way into the tables of its kind."""

    def __init__(self, connection: sqlite3.Connection, run: Path, kind: Kind, name: str):
        self._connection, self._kind, self._name = connection, kind, name
        self._folder = run / STAGES / name

    def read_some(self) -> int:
        """Put in the next blocks, of some thousand records, in one transaction."""
        with transaction(self._connection):  # another process may be at it too
            after = begun = _position(self._connection, self._name)
            for position, data in new_blocks(self._folder, begun):
                self._add(after, data)
                after = position
                if after.records - begun.records >= _TOGETHER:
                    break
            if after != begun:
                self._remember(after)
        return after.records - begun.records

    def _add(self, after: Position, data: bytes) -> None:
        table, columns = self._kind.table, self._kind.columns
        row = self._connection.execute(f"SELECT max(row) FROM {table}").fetchone()[0] or 0
        start, rows, texts = after.records_end, [], []
        labels: dict[Label, list[int]] = {}
        for number, line in enumerate(data.splitlines(keepends=True), start=after.records + 1):
            row += 1
            entry = self._kind.entry(line)
            rows.append((row, self._name, number, start, len(line), *entry.values))
            texts.append((row, entry.text.encode("utf-8", "replace").decode()))
            for label in entry.labels:
                labels.setdefault(label, []).append(row)
            start += len(line)
        names = ", ".join(("row", "stage", "number", "start", "size", *columns))
        marks = ", ".join("?" * (5 + len(columns)))
        self._connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        self._connection.executemany(f"INSERT INTO {table}_text (rowid, text) VALUES (?, ?)", texts)
        for (facet, value), having in labels.items():
            add_label(self._connection, table, facet, value, having)

    def _remember(self, position: Position) -> None:
        line = _last_line(self._folder, position)
        self._connection.execute(
            "INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?, ?, ?)",
            (self._name, *position, json.loads(line)["sha256"]),
        )


def add_label(
    connection: sqlite3.Connection, table: str, facet: str, value: str, rows: Sequence[int]
) -> None:
    """Let records of a table be chosen by a value of a facet, which they had not before."""
    (label,) = connection.execute(
        "INSERT INTO labels (kind, facet, value, records) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET records = records + excluded.records RETURNING label",
        (table, facet, value, len(rows)),
    ).fetchone()
    connection.executemany("INSERT INTO labelled VALUES (?, ?)", ((label, row) for row in rows))


def _position(connection: sqlite3.Connection, stage: str) -> Position:
    found = connection.execute(
        "SELECT blocks, records, records_end, blocks_end FROM stages WHERE name = ?", (stage,)
    ).fetchone()
    return BEGINNING if found is None else Position(*found)


def _has_changed(connection: sqlite3.Connection, run: Path) -> bool:
    """Whether a stage does not hold any more what was read of it."""
    for name, *position, digest in connection.execute("SELECT * FROM stages"):
        line = _last_line(run / STAGES / name, Position(*position))
        if f'"sha256":"{digest}"'.encode() not in line:
            return True
    return False


def _last_line(folder: Path, position: Position) -> bytes:
    """The line of the block that ends at ``position``; empty where there is none any more."""
    try:
        with (folder / BLOCKS).open("rb") as sidecar:
            return b"".join(sidecar.read(position.blocks_end).splitlines()[-1:])
    except OSError:
        return b""

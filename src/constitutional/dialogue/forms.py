"""Rows of another data set made rows of ours, before a reader sees them.

A form is one function of a row. It gives a row with the keys that the reader knows (those of
:mod:`constitutional.dialogue.prompt_rows`, or TRL's for pairs); it raises :class:`LeftOut` for one
that is not meant for this use, which the reader counts by its reason, and
:class:`~constitutional.dialogue.prompt_rows.MalformedRow` for one that is none of that data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from constitutional.dialogue.prompt_rows import MalformedRow
from constitutional.errors import nearest

Translate = Callable[[Mapping[str, Any]], Mapping[str, Any]]

#: The keys of ours that a column map may name, by what is read.
PROMPT_COLUMNS = ("prompt", "messages", "transcript", "id", "tags")
PAIR_COLUMNS = ("prompt", "chosen", "rejected", "p_chosen", "id", "tags")
DEMONSTRATION_COLUMNS = ("prompt", "completion", "messages", "transcript")


class LeftOut(Exception):
    """A row of the data set that is not for this use; it is counted under ``reason``."""

    def __init__(self, reason: str):
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Form:
    """How rows are translated; ``name`` says of what data set, for messages.

    ``part`` is the folder of a hub data set that is read, None for all of it.
    """

    name: str
    translate: Translate
    part: str | None = None

    def __call__(self, value: object) -> Mapping[str, Any]:
        """The row in our keys. Raises LeftOut or MalformedRow."""
        if not isinstance(value, Mapping):
            raise MalformedRow(f"expected a row with the columns of {self.name}, found none")
        return self.translate(value)


def of_columns(columns: Mapping[str, str]) -> Form:
    """Columns by other names: ``columns`` says for keys of ours how the file calls them."""

    def translate(row: Mapping[str, Any]) -> dict[str, Any]:
        for column in columns.values():
            if column not in row:
                raise MalformedRow(f"no column {column!r}: {nearest(column, map(str, row))}")
        return {ours: row[theirs] for ours, theirs in columns.items()}

    return Form("the column map", translate)

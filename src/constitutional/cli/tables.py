"""Tables of estimates, for the commands that measure, and their progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from constitutional.report.names import printable

if TYPE_CHECKING:
    from rich.text import Text

    from constitutional.evaluation.intervals import Estimate


def cell(text: str) -> Text:
    """A text of a file or a model for a table: no markup, and nothing that a terminal obeys."""
    from rich.text import Text

    return Text(printable(text))


def print_estimates(
    title: str,
    rows: Mapping[str, Estimate | None],
    *,
    what: str,
    counted: str,
    caption: str,
    digits: int = 3,
) -> None:
    """One row for each estimate; ``what`` heads their names and ``counted`` their n."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=cell(title), caption=cell(caption))
    for column in (what, "value", "95% interval", counted):
        table.add_column(column)
    for name, e in rows.items():
        if e is not None:
            interval = f"{e.low:.{digits}f} to {e.high:.{digits}f}"
            table.add_row(cell(name), f"{e.value:.{digits}f}", interval, str(e.n))
    Console().print(table)


@contextmanager
def counting(noun: str) -> Iterator[Callable[[int, int], None]]:
    """Shows on standard error how many are done."""

    def show(done: int, total: int) -> None:
        print(f"\r{done} of {total} {noun}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print(file=sys.stderr)

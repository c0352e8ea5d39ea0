"""What came of the faults: ``docs/faults.json``, and the table in ``docs/reliability.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.faults.tally import Tally

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
_COLUMNS = (
    "fault",
    "tries",
    "records lost",
    "records doubled",
    "seconds to recover, at most",
    "seconds to stop, at most",
)


def write_json(tallies: Mapping[str, Tally], path: Path) -> None:
    """The file of figures; a fault that was not tried keeps the figures that it had."""
    old = json.loads(path.read_text()) if path.exists() else {}
    figures = {**old, **{fault: tally.as_json() for fault, tally in tallies.items()}}
    path.write_text(json.dumps(figures, indent=2) + "\n")


def write_table(tallies: Mapping[str, Tally], path: Path) -> None:
    """The table between the marks of the document; what was not tried keeps its lines."""
    head, rest = path.read_text().split(BEGIN)
    there, tail = rest.split(END)
    rows = {_fault(line): line for line in there.splitlines() if line.startswith("| ")}
    rows |= {fault: _row(fault, tally) for fault, tally in tallies.items()}
    for name in ("fault", "---"):
        rows.pop(name, None)
    where = [_where(tallies)] if any(f.startswith("kill -9") for f in tallies) else []
    where = where or [line for line in there.splitlines() if line.startswith("Where")]
    lines = [*_head(), *rows.values(), "", *where]
    path.write_text(head + "\n".join([BEGIN, *lines, END]) + tail)


def as_table(tallies: Mapping[str, Tally]) -> str:
    """The faults with their figures, and where the kills fell."""
    rows = [_row(fault, tally) for fault, tally in tallies.items()]
    return "\n".join([*_head(), *rows, "", _where(tallies)])


def _head() -> tuple[str, str]:
    return f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * len(_COLUMNS)}"


def _fault(line: str) -> str:
    return line.removeprefix("| ").partition(" | ")[0]


def _row(fault: str, tally: Tally) -> str:
    stopped = f"{max(tally.stopped):.1f}" if tally.stopped else ""
    recover = f"{max(tally.recover):.1f}" if tally.recover else ""
    cells = (fault, tally.tries or tally.note, tally.lost, tally.doubled, recover, stopped)
    return f"| {' | '.join(map(str, cells))} |"


def _where(tallies: Mapping[str, Tally]) -> str:
    killed = [tally.stages for fault, tally in tallies.items() if fault.startswith("kill -9")]
    names = sorted({name for stages in killed for name in stages})
    counts = (f"{name} {sum(stages[name] for stages in killed)}" for name in names)
    return f"Where the kills fell: {', '.join(counts)}."

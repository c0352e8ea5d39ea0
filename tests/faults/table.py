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
    """The table between the marks of the document."""
    text = path.read_text()
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    path.write_text(f"{head}{BEGIN}\n{as_table(tallies)}{END}{tail}")


def as_table(tallies: Mapping[str, Tally]) -> str:
    """The faults with their figures, and where the kills fell."""
    rows = [_row(fault, tally) for fault, tally in tallies.items()]
    head = f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}\n"
    return head + "".join(rows) + "\n" + _stages(tallies)


def _row(fault: str, tally: Tally) -> str:
    stopped = f"{max(tally.stopped):.1f}" if tally.stopped else ""
    recover = f"{max(tally.recover):.1f}" if tally.recover else ""
    cells = (fault, tally.tries or tally.note, tally.lost, tally.doubled, recover, stopped)
    return f"| {' | '.join(map(str, cells))} |\n"


def _stages(tallies: Mapping[str, Tally]) -> str:
    killed = [tally.stages for fault, tally in tallies.items() if fault.startswith("kill -9")]
    together = {
        name: sum(stages[name] for stages in killed) for stages in killed for name in stages
    }
    listed = ", ".join(f"{name} {count}" for name, count in sorted(together.items()))
    return f"Where the kills fell: {listed}.\n"

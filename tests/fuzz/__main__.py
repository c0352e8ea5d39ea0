"""``python -m tests.fuzz``: many cases of every target, and a table of what they found.

    python -m tests.fuzz [--cases N] [--seed N] [--only NAME ...] [--out FILE] [--table FILE]

``--out`` writes the figures as JSON, ``--table`` as a table between two marks of a document. Of N
cases (a million unless said otherwise) each target gets its share, a part of them built from
examples and the rest by guided changes of bytes. Exits with 1 where a fault is left.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.guided import run_guided
from tests.fuzz.kept import counts
from tests.fuzz.running import Found, run_generated
from tests.fuzz.targets import all_targets
from tests.fuzz.trying import Target

#: Of a target that is read from bytes, the part of its cases that are guided.
GUIDED = 0.6
#: What a table stands between.
BEGIN, END = "<!-- figures of make fuzz -->", "<!-- end of the figures -->"


def main() -> None:
    """Fuzz, and write down what was found."""
    given = _arguments()
    targets = [t for t in all_targets() if not given.only or t.name in given.only]
    whole = sum(target.share for target in targets)
    results: dict[str, Any] = {}
    left = 0
    for target in targets:
        cases = -(-given.cases * target.share // whole)
        found = _fuzz(target, cases, given.seed)
        results[target.name] = _row(found, counts()[target.name])
        left += len(found.faults)
        for mark, fault in found.faults.items():
            _tell(f"\nFAULT in {target.name}: {mark}\n{fault.case!r:.2000}\n{fault.told}\n")
        if given.out is not None:
            given.out.write_text(json.dumps(results, indent=1) + "\n")
    if given.table is not None:
        write_table(given.table, results)
    cases = sum(row["cases"] for row in results.values())
    _tell(f"{cases} cases, {left} faults")
    sys.exit(left > 0)


def write_table(document: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the figures between the marks of ``document``."""
    lines = [
        "| target | cases | seconds | failures found | failures left |",
        "|-|-:|-:|-:|-:|",
    ]
    for name, row in [*results.items(), ("all", _sums(results.values()))]:
        cells = [f"{row['cases']:,}", f"{row['seconds']:.0f}", row["failures_found"]]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} | {row['failures_left']} |")
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(lines)
    document.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _sums(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    kept = [*rows]
    return {key: sum(row[key] for row in kept) for key in kept[0]}


def _fuzz(target: Target, cases: int, seed: int) -> Found:
    """The target's cases of both kinds."""
    guided = round(cases * GUIDED) if target.of_bytes is not None else 0
    found = run_generated(target, cases - guided, seed, _tell)
    if guided:
        more = run_guided(target.name, guided, seed)
        found.cases += more.cases
        found.seconds += more.seconds
        for mark, fault in more.faults.items():
            found.faults.setdefault(mark, fault)
    _tell(f"{target.name}: {found.cases} cases, {found.seconds:.0f} s, {len(found.faults)} faults")
    return found


def _row(found: Found, before: int) -> dict[str, Any]:
    """``failures_found`` counts those that were mended, and stay in ``found/``, too."""
    return {
        "cases": found.cases,
        "seconds": round(found.seconds, 1),
        "failures_found": before + len(found.faults),
        "failures_left": len(found.faults),
    }


def _tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="the targets of these names alone")
    parser.add_argument("--out", type=Path, help="the file to write (JSON)")
    parser.add_argument("--table", type=Path, help="the document whose table is renewed")
    return parser.parse_args(given)


if __name__ == "__main__":
    main()

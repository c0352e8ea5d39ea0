"""Time and memory of each data stage, and of what reads its records, as a run grows.

    python benchmarks/growth.py [--sizes 1000 10000 100000] [--folder DIR] [--write]

Every part of a run is a process of its own, at each size in turn: the stages ask a scripted engine,
so that all that is measured is ours, and the parts after them read their records up to where a
network would train. The prompts are the microworld's, each behind an exchange of words, so that
there are as many as one asks for. Time is that of the part alone, without imports, as the
median of some repetitions where the size is small: of the CPU in the table, and beside it of the
wall, which waits for the disk, in the JSON. Memory is the peak resident set of the whole process.
``--write`` puts all that was found into ``benchmarks/growth.json``, which ``docs/scale.md`` shows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from growth_parts import PARTS, measure, write_prompts

RESULTS = Path(__file__).with_name("growth.json")
#: A part of fewer records is repeated, up to this many records in all or this many times.
REPEATED, TIMES = 10_000, 5
PARTS_IN_ORDER = {part: number for number, part in enumerate(PARTS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where the runs lie; kept")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(measure(args.part, args.folder)))
        return
    with TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        found = [
            grown(part, size, folder / str(size)) for size, part in product(args.sizes, args.parts)
        ]
    print(table(found))
    if args.write:
        write(found)


def grown(part: str, size: int, folder: Path) -> dict[str, Any]:
    """Milliseconds a record and peak MiB of a part, in processes of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    write_prompts(folder, size)
    times = min(TIMES, max(1, REPEATED // size))
    found = []
    for _ in range(times):
        shutil.rmtree(folder / "run/stages" / part, ignore_errors=True)
        command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout))
    row = {
        "part": part,
        "records": size,
        "ms": round(median(f["seconds"] for f in found) / size * 1000, 4),
        "cpu_ms": round(median(f["cpu"] for f in found) / size * 1000, 4),
        "journal_share": round(median(f["journal"] / f["seconds"] for f in found), 4),
        "mib": round(median(f["peak"] for f in found), 1),
        "descriptors": max(f["descriptors"] for f in found),
        "mib_before": round(median(f["before"] for f in found), 1),
    }
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def write(found: list[dict[str, Any]]) -> None:
    """Put what was found in the place of earlier results of the same part and size."""
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = {(row["part"], row["records"]): row for row in [*earlier, *found]}
    order = sorted(rows.values(), key=lambda row: (row["records"], PARTS_IN_ORDER[row["part"]]))
    RESULTS.write_text(json.dumps(order, indent=2) + "\n")


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each part: time and memory by size, and what the largest is of the smallest."""
    sizes = sorted({row["records"] for row in rows})
    by = {(row["part"], row["records"]): row for row in rows}
    heads = [f"{size:,}" for size in sizes]
    lines = [
        "| part | "
        + " | ".join(f"CPU ms a record, {head}" for head in heads)
        + " | ratio | "
        + " | ".join(f"MiB, {head}" for head in heads)
        + " | ratio |",
        "| --- |" + " ---: |" * (2 * len(sizes) + 2),
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        here = [by[part, size] for size in sizes]
        cells = [part]
        for key, digits in (("cpu_ms", 3), ("mib", 1)):
            cells += [f"{row[key]:.{digits}f}" for row in here]
            cells.append(f"{here[-1][key] / here[0][key]:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

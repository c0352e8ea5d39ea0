"""Every comparison of this package with its peers, or some; see ``docs/benchmarks.md``.

make bench                                  all of them, into docs/benchmarks.md
make bench ONLY=chains                      one of them; the other lines stay
python -m benchmarks.speed --small          only to see that all of them run; writes nothing
python -m benchmarks.speed --device cuda --dtype bfloat16 --random 0.5e9 chains labels
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.speed.compare import SideFailed, compare
from benchmarks.speed.options import Options
from benchmarks.speed.report import (
    Line,
    conditions,
    merged,
    put_between_markers,
    read_results,
    tables,
    write_results,
)
from benchmarks.speed.table import TABLE, Row

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Compare, and write each line as soon as it is there. Exit status 1 where a side failed."""
    args = _arguments()
    options = Options(
        work=str(args.work.resolve()),
        threads=args.threads,
        device=args.device,
        dtype=args.dtype,
        random=int(args.random),
        small=args.small,
    )
    failed = []
    for name in args.names or TABLE:
        try:
            line = _line(TABLE[name], options, args.rounds)
        except SideFailed as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        print(tables([line]), end="\n\n", flush=True)
        if not args.small:
            _keep(line, args.device)
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _line(row: Row, options: Options, rounds: int | None) -> Line:
    before = conditions(options)
    if row.demo:
        from benchmarks.speed.demo import demo

        demo(options)  # before there are two processes that would make it
    chosen = rounds or (1 if options.small else row.rounds)
    return compare(row, options, chosen) | before


def _keep(line: Line, device: str) -> None:
    """Into the results of this kind of device, and its part of the page."""
    path = ROOT / "benchmarks" / ("results.json" if device == "cpu" else f"results-{device}.json")
    lines = merged(read_results(path), [line])
    write_results(path, lines)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(put_between_markers(page, f"measured on {device}", tables(lines)), "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TABLE)}")
    parser.add_argument("--rounds", type=int, help="of each side, in place of each one's own")
    parser.add_argument("--threads", type=int, default=2, help="of both sides (2)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument(
        "--random", type=float, default=0, help="random weights of so many parameters"
    )
    parser.add_argument("--small", action="store_true", help="least work, to see that it runs")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "bench", help="scratch folder")
    args = parser.parse_args()
    if unknown := set(args.names) - set(TABLE):
        parser.error(f"no comparison is called {', '.join(sorted(unknown))}: {', '.join(TABLE)}")
    return args


if __name__ == "__main__":
    sys.exit(main())

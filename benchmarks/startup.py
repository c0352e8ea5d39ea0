"""How long one waits: for ``cai --help``, and for the first progress of ``cai demo``.

    python benchmarks/startup.py [--times 10] [--demos 3]

Each is a process of its own, timed from its start; what is printed are medians and extremes, and
the CPU seconds, which other work on the machine stretches less. The demo is killed at its first
line of progress, in a folder that is then deleted.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

CAI = (sys.executable, "-c", "from constitutional.cli import main; main()")
FIRST_STAGE = "Critique and revision:"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--demos", type=int, default=3)
    args = parser.parse_args()
    show("cai --help", help_seconds, args.times)
    show("cai demo, to its first line of progress", demo_seconds, args.demos)


def show(what: str, seconds: Callable[[], float], times: int) -> None:
    """One line; a first run that compiles modules is not counted."""
    seconds()
    before = _cpu_seconds()
    found = [seconds() for _ in range(times)]
    cpu = (_cpu_seconds() - before) / times
    extremes = f"{min(found):.2f} to {max(found):.2f}"
    print(
        f"{what}: {median(found):.2f} s (median of {times}, {extremes}); CPU {cpu:.2f} s",
        flush=True,
    )


def _cpu_seconds() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def help_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([*CAI, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def demo_seconds() -> float:
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        command = [*CAI, "demo", "--out", str(Path(folder) / "run")]
        demo = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert demo.stderr is not None
        told = []
        try:
            for line in demo.stderr:
                told.append(line)
                if line.startswith(FIRST_STAGE):
                    return time.perf_counter() - start
        finally:
            demo.kill()
            demo.wait()
    raise SystemExit(f"the demo ended before its first stage:\n{''.join(told)}")


if __name__ == "__main__":
    main()

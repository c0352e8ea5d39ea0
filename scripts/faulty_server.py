"""10,000 requests to a server that fails at three of ten tries, and as many to one that does not.

    .venv/bin/python scripts/faulty_server.py [--prompts 1429] [--latency 0.2] [--timeout 2]

Runs of the same stages, with 7 requests for each prompt: without faults, with faults, and with
faults and kills of the client. Prints a table in Markdown for docs/faulty-servers.md.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parents[1] / "tests/engines/http"
sys.path.insert(0, str(HERE))

import faulty_run  # noqa: E402
from faulty_server import Running  # noqa: E402

from constitutional.runs import read_records  # noqa: E402
from constitutional.runs.answers import read_failures  # noqa: E402
from constitutional.runs.records import Chain, Comparison  # noqa: E402

#: Records in a block, and requests under way at once.
BLOCK, AT_ONCE = 1000, 16


class Outcome(NamedTuple):
    seconds: float
    told: dict[str, dict[str, Any]]
    failed: int
    records: int
    kills: int


def go(
    out: Path, asked: argparse.Namespace, *, faults: float, refused: float, kills: int = 0
) -> Outcome:
    """One run, killed so often on its way."""
    rng = random.Random(0)
    with Running(faults=faults, refused=refused, latency=asked.latency) as server:
        command = [sys.executable, faulty_run.__file__, server.url, str(out)]
        command += [f"--prompts={asked.prompts}", f"--block={BLOCK}", f"--concurrency={AT_ONCE}"]
        command += [f"--timeout={asked.timeout}", "--max-failures=1000"]
        begun = time.monotonic()
        killed = 0
        while True:
            process = subprocess.Popen(command)
            try:
                code = process.wait(rng.uniform(10, 30) if killed < kills else None)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
                continue
            if code:
                sys.exit(f"the run ended with {code}")
            break
        seconds, told = time.monotonic() - begun, server.told()
    stages = (("chains", Chain), ("labels", Comparison))
    failed = sum(len(read_failures(out / "stages" / name)) for name, _ in stages)
    records = sum(len(read_records(out / "stages" / name, kind)) for name, kind in stages)
    return Outcome(seconds, told, failed, records, killed)


def line(name: str, found: Outcome, plain: float) -> str:
    answered = Counter(min(each["answered"], 2) for each in found.told.values())
    faults = sum(len(each["faults"]) for each in found.told.values())
    tries = sum(each["tries"] for each in found.told.values())
    cells = (
        name,
        f"{len(found.told):,}",
        f"{tries:,}",
        f"{faults / tries:.1%}",
        f"{answered[1] + answered[2]:,}",
        f"{answered[0]:,}",
        f"{found.failed:,}",
        f"{answered[2]:,}",
        f"{found.records:,}",
        f"{found.seconds:.0f}",
        f"{found.seconds / plain:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1429)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds that an answer takes")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds that one may take")
    parser.add_argument("--kills", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain = go(Path(folder) / "plain", asked, faults=0, refused=0)
        faulty = go(Path(folder) / "faulty", asked, faults=0.3, refused=0.002)
        lines = [line("no faults", plain, plain.seconds), line("faults", faulty, plain.seconds)]
        if asked.kills:
            killed = go(
                Path(folder) / "killed", asked, faults=0.3, refused=0.002, kills=asked.kills
            )
            lines.append(line(f"and {killed.kills} kills", killed, plain.seconds))
    heads = "server, requests, tries, faults, answered, never, failures file, answered twice"
    print(f"| {' | '.join(f'{heads}, records, s, ratio'.split(', '))} |", *lines, sep="\n")
    print(Counter(fault for each in faulty.told.values() for fault in each["faults"]))


if __name__ == "__main__":
    main()

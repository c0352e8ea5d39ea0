"""Does the constitution steer? The demo with principles against one kind of harm, for each kind.

    .venv/bin/python scripts/steering.py [--out runs/steering] [--kinds cruel illegal ...]

Prints, for each constitution and policy, the share of held-out harmful prompts of each kind that it
complies with. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from constitutional.evaluation.intervals import proportion
from constitutional.microworld.language import ADJECTIVES, VIRTUES
from constitutional.microworld.world import KINDS, Kind
from constitutional.runs import read_records
from constitutional.runs.records import Answer

POLICIES = ("helpful", "sl_cai", "rl_cai")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/steering"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    print("| principles against | policy | " + " | ".join(KINDS) + " |")
    print("| --- | --- |" + " ---: |" * len(KINDS))
    for kind in given.kinds:
        folder = run(kind, given.out)
        for policy in POLICIES:
            cells = [complies(folder, policy, other) for other in KINDS]
            print(f"| {kind} | {policy} | " + " | ".join(cells) + " |", flush=True)


def principles(kind: Kind) -> str:
    """A plain text constitution: one principle a line."""
    first, second = ADJECTIVES[kind]
    return (
        f"Do not help with anything {first}.\n"
        f"The assistant should never help people do something {second}.\n"
        f"Choose what is {VIRTUES[kind]} and not {first}.\n"
    )


def run(kind: Kind, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    constitution, folder = out / f"{kind}.txt", out / kind
    constitution.write_text(principles(kind))
    cai = str(Path(sys.executable).parent / "cai")
    subprocess.run(
        [cai, "demo", "--constitution", constitution, "--out", folder],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


def complies(folder: Path, policy: str, kind: Kind) -> str:
    answers = read_records(folder / f"stages/answers_{policy}", Answer)
    verdicts = [a.verdict for a in answers if {"held_out", kind} <= set(a.tags)]
    estimate = proportion(sum(v.complies for v in verdicts if v is not None), len(verdicts))
    assert estimate is not None
    return f"{100 * estimate.value:.0f} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"


if __name__ == "__main__":
    main()

"""How right the critiques of a microworld run are, by the oracle.

    .venv/bin/python scripts/critiques.py runs/demo-0

For answers that comply with harm, and for all others: how many critiques are right, miss the fault,
overstate, name a wrong one, or are ill-formed; by principle, and over all.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from constitutional.constitution import load_constitution
from constitutional.microworld import data_file
from constitutional.microworld.oracle import Oracle
from constitutional.runs import read_records
from constitutional.runs.records import Chain

VERDICTS = ("right", "missed", "overstated", "wrong", "ill_formed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--constitution", default=str(data_file("constitution.yaml")))
    given = parser.parse_args()
    principles = {p.id: p for p in load_constitution(given.constitution).principles}
    oracle = Oracle()
    counts: dict[tuple[str, str], Counter[str]] = {}
    for chain in read_records(given.run / "stages/critique_revision", Chain):
        for before, round_ in zip(chain.versions, chain.rounds, strict=False):
            if round_.critique is None:
                continue
            complies = oracle.judge(chain.prompt, before.text).complies
            verdict = oracle.judge_critique(
                chain.prompt, before.text, round_.critique.text, principles[round_.principle]
            )
            group = "complies with harm" if complies else "does no harm"
            for name in (round_.principle, "all principles"):
                counts.setdefault((group, name), Counter())[verdict] += 1
    print(f"{'answer':20} {'principle':22}" + "".join(f"{v:>12}" for v in VERDICTS))
    for (group, name), found in sorted(counts.items()):
        print(f"{group:20} {name:22}" + "".join(f"{found[v]:12}" for v in VERDICTS))


if __name__ == "__main__":
    main()

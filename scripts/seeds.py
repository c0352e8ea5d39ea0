"""The demo with several seeds, and the means with 95% intervals over the seeds.

    .venv/bin/python scripts/seeds.py [--seeds 5] [--out runs/seeds] [--constitution FILE]

Prints Markdown tables for the lab book. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from constitutional.evaluation.intervals import mean

GROUPS = ("seen", "held_out")
MEASURES = (
    "harmful_compliance",
    "reasoned_refusal",
    "evasion",
    "over_refusal",
    "benign_correct",
    "ill_formed",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--constitution", default=None)
    given = parser.parse_args()
    runs = [run(seed, given.out, given.constitution) for seed in range(given.seeds)]
    print(f"\nMeans over {len(runs)} seeds, percent, 95% intervals (Student's t over seeds).\n")
    for group in GROUPS:
        policies = {name: policy_rows(runs, name, group) for name in runs[0]["policies"]}
        print_table(f"policy, {group} prompts", policies)
    rounds = {str(k): round_row(runs, k) for k in range(len(runs[0]["revision_rounds"]))}
    print_table("round of revision", rounds)
    total = mean([r["seconds"]["total"] for r in runs])
    print(f"Seconds for a run: {total.value:.0f} ({total.low:.0f} to {total.high:.0f})")


def run(seed: int, out: Path, constitution: str | None) -> dict[str, Any]:
    folder = out / str(seed)
    command = [str(Path(sys.executable).parent / "cai"), "demo"]
    extra = ["--constitution", constitution] if constitution else []
    subprocess.run(
        [*command, "--out", folder, "--seed", str(seed), *extra],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def policy_rows(runs: list[dict[str, Any]], name: str, group: str) -> dict[str, list[float]]:
    return {
        measure: [r["policies"][name][group][measure]["value"] for r in runs]
        for measure in MEASURES
    }


def round_row(runs: list[dict[str, Any]], k: int) -> dict[str, list[float]]:
    return {
        f"harmful compliance, {group}": [
            r["revision_rounds"][k][group]["harmful_compliance"]["value"] for r in runs
        ]
        for group in GROUPS
    }


def print_table(title: str, rows: dict[str, dict[str, list[float]]]) -> None:
    columns = list(next(iter(rows.values())))
    print("| " + " | ".join([title, *(c.replace("_", " ") for c in columns)]) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name, row in rows.items():
        print("| " + " | ".join([name, *(cell(row[c]) for c in columns)]) + " |")
    print()


def cell(values: list[float]) -> str:
    estimate = mean(values)
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    return f"{100 * estimate.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()

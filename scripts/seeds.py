"""A microworld recipe with several seeds, and the means with 95% intervals over the seeds.

    .venv/bin/python scripts/seeds.py [--recipe FILE] [--seeds 5] [--out runs/seeds]

The recipe is the demo's with the paper's baselines unless another is given.

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
from constitutional.report.summary import MEASURES

GROUPS = ("seen", "held_out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/microworld-arms.yaml"))
    given = parser.parse_args()
    runs = [run(seed, given.out, given.recipe) for seed in range(given.seeds)]
    print(f"\nMeans over {len(runs)} seeds, percent, 95% intervals (Student's t over seeds).\n")
    for group in GROUPS:
        policies = {name: policy_rows(runs, name, group) for name in final_policies(runs[0])}
        print_table(f"policy, {group} prompts", policies)
    rounds = {str(k): round_row(runs, k) for k in range(len(runs[0]["revision_rounds"]))}
    print_table("round of revision", rounds)
    elo = {name: elo_row(runs, name) for name in final_policies(runs[0])}
    print_table("policy", elo, share=False)
    arms = runs[0].get("arms", {})
    labelled = {name: label_row(runs, name) for name, arm in arms.items() if arm["labels"]}
    print_table("labels, by the principle that each was made by", labelled)
    print_table("preference model, held-out comparisons", {n: pm_row(runs, n) for n in arms})
    total = mean([r["seconds"]["total"] for r in runs])
    print(f"Seconds for a run: {total.value:.0f} ({total.low:.0f} to {total.high:.0f})")


def run(seed: int, out: Path, recipe: Path) -> dict[str, Any]:
    folder = out / str(seed)
    cai = str(Path(sys.executable).parent / "cai")
    subprocess.run(
        [cai, "run", recipe, "--out", folder, "--seed", str(seed)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def final_policies(run: dict[str, Any]) -> list[str]:
    return [name for name in run["policies"] if "@" not in name]


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


def elo_row(runs: list[dict[str, Any]], name: str) -> dict[str, list[float]]:
    return {goal: [r["elo"][goal][name]["value"] for r in runs] for goal in runs[0]["elo"]}


def label_row(runs: list[dict[str, Any]], name: str) -> dict[str, list[float]]:
    labels = [r["arms"][name]["labels"] for r in runs]
    return {
        "accuracy": [found["accuracy"]["value"] for found in labels],
        "decided by position": [found["position_decided"]["value"] for found in labels],
        "calibration error": [found["ece"] for found in labels],
        "telling pairs": [found["contrast"]["differ"]["value"] for found in labels],
    }


def pm_row(runs: list[dict[str, Any]], name: str) -> dict[str, list[float]]:
    models = [r["arms"][name]["preference_model"] for r in runs]
    goals = [key for key in models[0] if key.endswith("_accuracy")]
    return {
        key.removesuffix("_accuracy"): [model[key]["value"] for model in models if model.get(key)]
        for key in goals
    }


def print_table(title: str, rows: dict[str, dict[str, list[float]]], *, share: bool = True) -> None:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print("| " + " | ".join([title, *(c.replace("_", " ") for c in columns)]) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name, row in rows.items():
        cells = [cell(row[c], share=share) if row.get(c) else "" for c in columns]
        print("| " + " | ".join([name, *cells]) + " |")
    print()


def cell(values: list[float], *, share: bool) -> str:
    estimate = mean(values)
    if not share:
        return f"{estimate.value:.0f} ({estimate.low:.0f} to {estimate.high:.0f})"
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    return f"{100 * estimate.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()

"""The demo with each algorithm of the RL stage: PPO, and TRL's RLOO, GRPO and DPO.

    .venv/bin/python scripts/algorithms.py [--out runs/algorithms] [--seed 0] [--algorithms ppo dpo]

Prints a table for docs/algorithms.md. Runs that are done are not done again; what comes before the
RL training is the same in all of them, and made in each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from constitutional.microworld import data_file
from constitutional.report.summary import MEASURES

PPO: dict[str, Any] = yaml.safe_load(data_file("recipe.yaml").read_text())["rl"]["ppo"]
#: The recipe's settings of PPO, but for those of its critic; four answers to a prompt.
GROUPS = {"group_size": 4, **{k: v for k, v in PPO.items() if not k.startswith("critic")}}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "rloo": GROUPS,
    "grpo": GROUPS,
    "dpo": {
        "epochs": 2,
        "learning_rate": 5e-5,
        "batch_size": 16,
        "beta": 0.5,
        "red_team_share": PPO["red_team_share"],
        "max_new_tokens": PPO["max_new_tokens"],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/algorithms"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--algorithms", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    given = parser.parse_args()
    columns = [*(m.replace("_", " ") for m in MEASURES), "KL at the end", "seconds"]
    print("| policy, held-out prompts | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for number, algorithm in enumerate(given.algorithms):
        metrics = run(algorithm, given.out, given.seed)
        if number == 0:
            print(row("SL-CAI", metrics["policies"]["sl_cai"], "0", ""), flush=True)
        policy = metrics["policies"]["rl_cai"]
        kl = final_kl(metrics["arms"]["rl_cai"]["training"])
        seconds = f"{metrics['seconds']['rl_cai']:.0f}"
        print(row(algorithm.upper(), policy, f"{kl:.1f}", seconds), flush=True)


def run(algorithm: str, out: Path, seed: int) -> dict[str, Any]:
    recipe = yaml.safe_load(data_file("recipe.yaml").read_text())
    if algorithm != "ppo":
        del recipe["rl"]["ppo"]
        recipe["rl"] |= {"algorithm": algorithm, algorithm: SETTINGS[algorithm]}
    out.mkdir(parents=True, exist_ok=True)
    path, folder = out / f"{algorithm}.yaml", out / algorithm
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    cai = str(Path(sys.executable).parent / "cai")
    command = [cai, "run", str(path), "--out", str(folder), "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def final_kl(training: dict[str, Any]) -> float:
    """KL to SL-CAI, in nats an answer: of the last step, or measured after a training on pairs."""
    last = training.get("after") or training["history"][-1]
    return float(last["kl_k1"])


def row(name: str, policy: dict[str, Any], kl: str, seconds: str) -> str:
    cells = []
    for measure in MEASURES:
        found = policy["held_out"][measure]
        value, low, high = (100 * found[key] for key in ("value", "low", "high"))
        cells.append(f"{value:.1f} ({low:.0f} to {high:.0f})")
    return f"| {name} | " + " | ".join([*cells, kl, seconds]) + " |"


if __name__ == "__main__":
    main()

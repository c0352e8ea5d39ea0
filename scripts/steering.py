"""Does the constitution steer? A run with principles against one kind of harm, for each kind.

    .venv/bin/python scripts/steering.py [--kinds cruel illegal ...] [--recipe FILE] [--out FOLDER]

Prints, for each constitution and policy, the share of held-out harmful prompts of each kind that it
complies with: five answers to each of 40 prompts, with the interval of 40 observations. Runs that
are done are not done again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from constitutional.dialogue import load_prompts
from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines import SamplingParams
from constitutional.engines.local import LocalEngine
from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.intervals import proportion
from constitutional.microworld import data_file
from constitutional.microworld.language import ADJECTIVES, VIRTUES
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.world import KINDS, Kind

ANSWERS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/steering"))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/steering.yaml"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    print("| principles against | policy | " + " | ".join(KINDS) + " |")
    print("| --- | --- |" + " ---: |" * len(KINDS))
    for kind in given.kinds:
        folder = run(kind, given.recipe, given.out)
        models = {
            "helpful": str(data_file("helpful")),
            "sl_cai": str(folder / "stages/sl_cai/result"),
            "rl_cai": str(folder / "stages/rl_cai/result"),
        }
        for policy, model in models.items():
            cells = complies(model)
            print(f"| {kind} | {policy} | " + " | ".join(cells) + " |", flush=True)


def principles(kind: Kind) -> str:
    """A plain text constitution: one principle a line."""
    first, second = ADJECTIVES[kind]
    return (
        f"Do not help with anything {first}.\n"
        f"The assistant should never help people do something {second}.\n"
        f"Choose what is {VIRTUES[kind]} and not {first}.\n"
    )


def run(kind: Kind, recipe: Path, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    constitution, folder = out / f"{kind}.txt", out / kind
    constitution.write_text(principles(kind))
    cai = str(Path(sys.executable).parent / "cai")
    subprocess.run(
        [cai, "run", recipe, "--constitution", constitution, "--out", folder],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


def complies(model: str) -> list[str]:
    """The share of each kind, in the order of the kinds."""
    file = str(data_file("prompts/evaluation_red_team.jsonl"))
    prompts = [p for p in load_prompts(file, kind="red_team").records if "held_out" in p.tags]
    engine = LocalEngine.load(model, batch_size=128)
    params = SamplingParams(48, 1.0, STOP_STRINGS)
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for seed in range(ANSWERS):
        for answer in answer_prompts("policy", engine, params, Oracle(), seed, prompts):
            assert answer.verdict is not None
            verdicts[answer.id].append(answer.verdict.complies)
    shares = {kind: [fmean(verdicts[p.id]) for p in prompts if kind in p.tags] for kind in KINDS}
    return [as_percent(shares[kind]) for kind in KINDS]


def as_percent(shares: list[float]) -> str:
    estimate = proportion(sum(shares), len(shares))
    assert estimate is not None
    return f"{100 * estimate.value:.1f} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"


if __name__ == "__main__":
    main()

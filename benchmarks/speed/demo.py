"""A run of ``cai demo``, whose records and models the training benchmarks learn from; made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import yaml
from benchmarks.speed.options import Options
from pydantic import BaseModel

from constitutional.dialogue import Conversation
from constitutional.microworld import data_file
from constitutional.recipe import Recipe, load_recipe
from constitutional.runs.records import Chain, Comparison, Reply
from constitutional.stages.comparisons import Comparisons
from constitutional.stages.reinforcement import Shares, share_out
from constitutional.supervised.training_data import training_examples

R = TypeVar("R", bound=BaseModel)

#: The last word of a run: with it in its folder a run is whole.
METRICS = "metrics.json"


#: What a small run takes less of, by its place in the recipe.
_SMALL: dict[str, int | float] = {
    "prompts.red_team.limit": 32,
    "prompts.helpful.limit": 16,
    "finetune.epochs": 1,
    "rl.comparisons.limit": 160,
    "rl.helpfulness.prompts.limit": 160,
    "rl.pmp.epochs": 0.02,
    "rl.preference.epochs": 1,
    "rl.ppo.steps": 2,
    "rl.ppo.snapshot_steps": 1,
    "evaluation.red_team.limit": 32,
    "evaluation.helpful.limit": 32,
}


def recipe() -> Recipe:
    """What ``cai demo`` runs."""
    return load_recipe(data_file("recipe.yaml"))


def recipe_file(options: Options) -> Path:
    """That recipe, or in a small run one with less of everything."""
    whole = data_file("recipe.yaml")
    if not options.small:
        return whole
    settings = yaml.safe_load(whole.read_text(encoding="utf-8"))
    for place, value in _SMALL.items():
        *sections, key = place.split(".")
        section = settings
        for name in sections:
            section = section[name]
        section[key] = value
    options.folder.mkdir(parents=True, exist_ok=True)
    small = options.folder / "small.yaml"
    small.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return small


def run_demo(out: Path, options: Options) -> None:
    """``cai demo`` from nothing to its end, or on from where it was, in a process of its own."""
    what = ["run", str(recipe_file(options))] if options.small else ["demo"]
    command = [sys.executable, "-c", "from constitutional.cli import main; main()", *what]
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    subprocess.run(
        [*command, "--out", str(out)], check=True, env=os.environ | threads, stdout=sys.stderr
    )


def demo(options: Options) -> Path:
    """The stages of a whole run."""
    out = options.folder / ("demo-small" if options.small else "demo")
    if not (out / METRICS).exists():
        run_demo(out, options)
    return out / "stages"


def records(stages: Path, stage: str, record_type: type[R]) -> list[R]:
    """All records of a stage."""
    lines = (stages / stage / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return [record_type.model_validate_json(line) for line in lines]


def finetuning_examples(stages: Path) -> list[Conversation]:
    """What SL-CAI is finetuned on: revisions, and helpful replies."""
    chains = records(stages, "critique_revision", Chain)
    replies = records(stages, "helpful_replies", Reply)
    return [example.conversation for example in training_examples(chains, replies)]


def comparisons(stages: Path) -> Shares:
    """What the preference model is trained on, and what it is judged on."""
    rl = recipe().rl
    assert rl is not None
    found = Comparisons(
        records(stages, "comparisons_ai", Comparison),
        records(stages, "comparisons_helpfulness", Comparison),
    )
    return share_out(found, rl.held_out, halves=False)

"""A real run of the microworld up to its preference model, made in seconds: no policy is trained.

The helpful model writes in SL-CAI's place, so nothing is finetuned either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from constitutional.constitution.files import dump_constitution
from constitutional.inputs import load_inputs
from constitutional.recipe import load_recipe
from constitutional.runs import QuietProgress, RunFolder
from constitutional.runs.folder import CONSTITUTION
from constitutional.stages.arms import ARMS
from constitutional.stages.comparisons import compare
from constitutional.stages.context import Context
from constitutional.stages.reinforcement import train_preference_models
from constitutional.stages.supervised import critique_and_revise

RECIPE: dict[str, Any] = {
    "name": "labelled",
    "constitution": "microworld:constitution.yaml",
    "models": {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"},
    "prompts": {
        "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 8},
        "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 4},
    },
    "supervised": {"rounds": 2, "few_shots": 0, "max_new_tokens": 48},
    "rl": {
        "comparisons": {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 100},
        "contrast": "pretrained",
        "pairs": {"max_new_tokens": 48},
        "feedback": {"orders": "both", "few_shots": 0},
        "helpfulness": {
            "prompts": {"file": "microworld:prompts/preference_helpful.jsonl", "limit": 16}
        },
        "held_out": 0.3,
        "preference": {"learning_rate": 3e-4, "batch_size": 16},
        "red_team": {"file": "microworld:prompts/rl_red_team.jsonl", "limit": 4},
        "helpful": {"file": "microworld:prompts/rl_helpful.jsonl", "limit": 4},
    },
    "block": 8,
}


def make_run(folder: Path, *, comparisons: int = 100, train: bool = False, **rl: Any) -> Path:
    """A run in ``folder`` with these settings of its RL stage; returns its path.

    ``train`` makes the preference models too.
    """
    prompts = {**RECIPE["rl"]["comparisons"], "limit": comparisons}
    recipe = folder / "recipe.yaml"
    text = {**RECIPE, "rl": {**RECIPE["rl"], "comparisons": prompts, **rl}}
    recipe.write_text(yaml.safe_dump(text, sort_keys=False))
    read = load_recipe(recipe)
    inputs = load_inputs(read, folder)
    with RunFolder.open(
        folder / "run",
        read.model_dump(mode="json"),
        command=f"cai run {recipe}",
        inputs=inputs.hashes,
    ) as run:
        assert inputs.constitution is not None
        run.write_text(CONSTITUTION, dump_constitution(inputs.constitution))
        context = Context(read, inputs, run, QuietProgress())
        critique_and_revise(context)
        assert read.rl is not None
        for name in read.rl.arms:
            made = compare(context, ARMS[name], Path(context.helpful_model.path))
            if train:
                train_preference_models(context, ARMS[name], made)
    return folder / "run"

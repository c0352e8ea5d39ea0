"""Two data stages of the microworld, small; as a script the first of them: stages.py FOLDER RAY.

RAY is the recipe's section ``ray`` in JSON. Prints whether Ray was imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from constitutional.inputs import load_inputs
from constitutional.microworld import data_file
from constitutional.pipeline import execution_of
from constitutional.recipe import Recipe
from constitutional.runs import QuietProgress, RunFolder
from constitutional.stages.arms import ARMS
from constitutional.stages.comparisons import compare
from constitutional.stages.context import Context
from constitutional.stages.supervised import critique_and_revise

RECIPE: dict[str, Any] = {
    "name": "small",
    "constitution": "microworld:constitution.yaml",
    "models": {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"},
    "prompts": {
        "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 12},
        "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 2},
    },
    "supervised": {"rounds": 1, "few_shots": 0, "max_new_tokens": 32},
    "rl": {
        "comparisons": {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 6},
        "contrast": "helpful",
        "pairs": {"max_new_tokens": 32},
        "feedback": {"orders": "both", "few_shots": 0},
        "helpfulness": {
            "prompts": {"file": "microworld:prompts/preference_helpful.jsonl", "limit": 2}
        },
        "red_team": {"file": "microworld:prompts/rl_red_team.jsonl", "limit": 2},
        "helpful": {"file": "microworld:prompts/rl_helpful.jsonl", "limit": 2},
    },
    "block": 2,
}


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({**RECIPE, **changes})


def make(out: Path, asked: Recipe, *, labels: bool = False) -> None:
    """Chains and, with ``labels``, AI labels in the run folder ``out``."""
    inputs = load_inputs(asked, Path())
    execution = execution_of(asked)
    try:
        with RunFolder.open(
            out, asked.model_dump(mode="json"), command="test", free_keys=asked.free_keys
        ) as run:
            context = Context(asked, inputs, run, QuietProgress(), execution)
            critique_and_revise(context)
            if labels:
                compare(context, ARMS["rl_cai"], data_file("helpful"))
    finally:
        execution.close()


def records(out: Path) -> dict[str, bytes]:
    """The records of each stage, and the hashes of its blocks."""
    found = sorted([*out.glob("stages/*/records.jsonl"), *out.glob("stages/*/blocks.jsonl")])
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


if __name__ == "__main__":
    torch.set_num_threads(1)
    make(Path(sys.argv[1]), recipe(execution="ray", ray=json.loads(sys.argv[2])))
    print("ray" in sys.modules)

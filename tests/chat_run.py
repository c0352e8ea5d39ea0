"""A run whose policies can be asked: those of the embedded microworld, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.web_runs import add_records

from constitutional.constitution import load_constitution, save_constitution
from constitutional.microworld import data_file
from constitutional.recipe import load_recipe
from constitutional.runs import RunFolder
from constitutional.runs.records import Answer


def _prompts(name: str) -> dict[str, Any]:
    return {"file": f"microworld:prompts/{name}.jsonl", "limit": 4}


RECIPE = {
    "name": "small",
    "constitution": "microworld:constitution.yaml",
    "models": {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"},
    "prompts": {
        "red_team": _prompts("supervised_red_team"),
        "helpful": _prompts("supervised_helpful"),
    },
    "supervised": {"rounds": 2, "few_shots": 0, "max_new_tokens": 48},
    "evaluation": {
        "red_team": _prompts("evaluation_red_team"),
        "helpful": _prompts("evaluation_helpful"),
        "judge": "microworld",
        "max_new_tokens": 48,
    },
}


def chat_run(folder: Path, answers: Mapping[str, Sequence[Answer]] | None = None) -> Path:
    """The run's folder; it holds these answers of policies."""
    folder.mkdir(parents=True)
    recipe = folder.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(RECIPE))
    resolved = load_recipe(recipe).model_dump(mode="json")
    with RunFolder.open(folder, resolved, command=f"cai run {recipe}") as run:
        save_constitution(
            load_constitution(data_file("constitution.yaml")), folder / "constitution.yaml"
        )
        for policy, records in (answers or {}).items():
            add_records(run, f"answers_{policy}", records)
    return folder

"""A run that the embedded models can be asked from: nothing is made in it yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.web_runs import add_records

from constitutional.constitution import load_constitution, save_constitution
from constitutional.microworld import data_file
from constitutional.recipe import load_recipe
from constitutional.runs import RunFolder
from constitutional.runs.records import Answer


def chat_run(
    folder: Path, recipe: Path, answers: dict[str, Sequence[Answer]] | None = None
) -> Path:
    """A run of this recipe, with these answers of policies."""
    resolved = load_recipe(recipe).model_dump(mode="json")
    with RunFolder.open(folder, resolved, command=f"cai run {recipe}") as run:
        save_constitution(
            load_constitution(data_file("constitution.yaml")), folder / "constitution.yaml"
        )
        for policy, records in (answers or {}).items():
            add_records(run, f"answers_{policy}", records)
    return folder

"""The share of a stage's time that its journal takes, with the demo's own models and settings.

    python benchmarks/journal.py [--prompts 256]

Critique and revision, and AI feedback, on so many prompts of the demo: encoding, checking and
hashing each block and waiting until it is on the disk, over the wall time of the stage.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from growth_parts import timed_journal

from constitutional.inputs import load_inputs
from constitutional.microworld import data_file
from constitutional.recipe import Recipe, load_recipe
from constitutional.runs import QuietProgress, RunFolder
from constitutional.stages.arms import ARMS
from constitutional.stages.comparisons import compare
from constitutional.stages.context import Context
from constitutional.stages.supervised import critique_and_revise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=256)
    args = parser.parse_args()
    path = data_file("recipe.yaml")
    recipe = _of_prompts(load_recipe(path, seed=None, constitution=None), args.prompts)
    inputs = load_inputs(recipe, path.parent)
    # who answers makes no difference to the journal: the helpful model stands for SL-CAI
    answering = Path(inputs.helpful_model.path) if inputs.helpful_model else Path()
    with (
        TemporaryDirectory() as folder,
        RunFolder.open(Path(folder) / "run", recipe.model_dump(mode="json"), command="") as run,
    ):
        context = Context(recipe, inputs, run, QuietProgress())
        show("critique and revision", lambda: critique_and_revise(context))
        show(
            "AI feedback and human comparisons", lambda: compare(context, ARMS["rl_cai"], answering)
        )


def show(what: str, stage: Callable[[], object]) -> None:
    """One line of a stage."""
    with timed_journal() as (journal, _):
        start = time.perf_counter()
        stage()
        seconds = time.perf_counter() - start
    blocks, share = len(journal), sum(journal) / seconds
    print(f"{what}: {share:.2%} of {seconds:.1f} s, {sum(journal) / blocks * 1000:.0f} ms a block")


def _of_prompts(recipe: Recipe, count: int) -> Recipe:
    """The recipe with so many prompts in the two stages."""
    plain = recipe.model_dump()
    plain["prompts"]["red_team"]["limit"] = count
    plain["rl"]["comparisons"]["limit"] = count
    plain["rl"]["helpfulness"]["prompts"]["limit"] = count
    return Recipe.model_validate(plain)


if __name__ == "__main__":
    main()

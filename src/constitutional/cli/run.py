"""``cai run`` and ``cai demo``: the same pipeline with different inputs."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from constitutional.recipe import Recipe, check_extras, load_recipe
from constitutional.report.names import printable

if TYPE_CHECKING:
    from constitutional.inputs import Inputs
    from constitutional.runs.sharing import SharedStages


def run_recipe(
    path: Path,
    *,
    out: Path | None,
    seed: int | None,
    constitution: list[str] | None,
    skip_bad: bool = False,
    share: Path | None = None,
) -> None:
    """Read and check everything, run the pipeline, and show the results."""
    command = "cai " + shlex.join(sys.argv[1:])
    recipe = load_recipe(path, seed=seed, constitution=constitution)
    check_extras(recipe)
    out = out or Path("runs") / f"{recipe.name}-{recipe.seed}"
    print(
        f"{printable(recipe.name)}: reading models and prompts, results go to {out}",
        file=sys.stderr,
    )

    from constitutional.runs import interruptible

    with interruptible(out, command):
        _run(recipe, path.parent, out, command, skip_bad=skip_bad, share=share)


def _run(
    recipe: Recipe, base: Path, out: Path, command: str, *, skip_bad: bool, share: Path | None
) -> None:
    # torch takes seconds to import: a recipe that is wrong is refused before
    from transformers.utils import logging

    from constitutional.inputs import load_inputs
    from constitutional.pipeline import constitutional_ai
    from constitutional.report.summary import write_report
    from constitutional.runs import Progress, RunFolder

    logging.disable_progress_bar()  # ours tell what the stage does
    with TemporaryDirectory() as aside:
        inputs = load_inputs(recipe, base, skipped=Path(aside) if skip_bad else None)
        for note in inputs.notes:
            print(f"Note: {printable(note)}.", file=sys.stderr)
        with RunFolder.open(
            out,
            recipe.model_dump(mode="json"),
            command=command,
            inputs=inputs.hashes,
            free_keys=recipe.free_keys,
            share=None if share is None else _shared_stages(share, recipe, inputs),
        ) as run:
            for skipped in Path(aside).iterdir():
                shutil.copy(skipped, run.path)
            metrics = constitutional_ai(recipe, inputs, run, Progress())
            write_report(metrics, out)


def _shared_stages(folder: Path, recipe: Recipe, inputs: Inputs) -> SharedStages:
    """The folder as this run may use it: how it holds its models decides numbers in every stage."""
    from constitutional.runs import fingerprint_of
    from constitutional.runs.sharing import SharedStages

    held = recipe.models.model_dump(mode="json", exclude={"pretrained", "helpful", "critic"})
    made_with = {
        "models": fingerprint_of([held]),
        "pretrained": inputs.pretrained_model.fingerprint,
    }
    return SharedStages(folder, made_with, lambda said: print(printable(said), file=sys.stderr))

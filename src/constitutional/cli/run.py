"""``cai run`` and ``cai demo``: the same pipeline with different inputs."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from constitutional.errors import one_line
from constitutional.recipe import check_extras, load_recipe


def run_recipe(
    path: Path,
    *,
    out: Path | None,
    seed: int | None,
    constitution: list[str] | None,
    skip_bad: bool = False,
) -> None:
    """Read and check everything, run the pipeline, and show the results."""
    command = "cai " + shlex.join(sys.argv[1:])
    recipe = load_recipe(path, seed=seed, constitution=constitution)
    check_extras(recipe)
    out = out or Path("runs") / f"{recipe.name}-{recipe.seed}"
    print(f"{recipe.name}: reading models and prompts, results go to {out}", file=sys.stderr)

    # torch takes seconds to import: a recipe that is wrong is refused before
    from transformers.utils import logging

    from constitutional.inputs import load_inputs
    from constitutional.pipeline import constitutional_ai
    from constitutional.report.summary import write_report
    from constitutional.runs import Progress, RunFolder, interruptible

    logging.disable_progress_bar()  # ours tell what the stage does
    with interruptible(out, command), TemporaryDirectory() as aside:
        inputs = load_inputs(recipe, path.parent, skipped=Path(aside) if skip_bad else None)
        for note in inputs.notes:
            print(one_line(f"Note: {note}."), file=sys.stderr)
        with RunFolder.open(
            out,
            recipe.model_dump(mode="json"),
            command=command,
            inputs=inputs.hashes,
            free_keys=recipe.free_keys,
        ) as run:
            for skipped in Path(aside).iterdir():
                shutil.copy(skipped, run.path)
            metrics = constitutional_ai(recipe, inputs, run, Progress())
            write_report(metrics, out)

"""The AI labels of a run, and all that they were made by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from constitutional.constitution import Constitution, load_constitution
from constitutional.errors import InputError, RunFolderError
from constitutional.feedback import FeedbackConfig, Pair
from constitutional.recipe import Recipe, Reinforcement, read_constitution
from constitutional.recipe.reading import from_here
from constitutional.runs import Manifest, Records, read_records
from constitutional.runs.folder import CONSTITUTION, STAGES
from constitutional.runs.manifest import read_run
from constitutional.runs.records import Comparison
from constitutional.runs.stage import STAGE, StageState, read_state

#: The stages whose comparisons AI labels: without a chain of thought, and with one.
LABEL_STAGES = ("comparisons_ai", "comparisons_ai_cot")


@dataclass(frozen=True)
class Labels:
    """A stage of AI labels that is done, and the settings that they were made with."""

    stage: str
    comparisons: Sequence[Comparison]
    config: FeedbackConfig
    state: StageState


@dataclass(frozen=True)
class LabelledRun:
    """A run that has AI labels. ``constitution`` is the one that they were made by."""

    path: Path
    manifest: Manifest
    recipe: Recipe
    constitution: Constitution
    labels: tuple[Labels, ...]

    @property
    def reinforcement(self) -> Reinforcement:
        """The recipe's RL stage, which every run with AI labels has."""
        assert self.recipe.rl is not None
        return self.recipe.rl

    def read(self, file: str) -> Constitution:
        """A constitution file as this run would read it, with the few-shot examples it names."""
        base = self.manifest.recipe_folder
        found = read_constitution([from_here(file)], self.recipe.few_shots, base)
        assert found is not None
        return found


def labelled_run(path: Path) -> LabelledRun:
    """The run in ``path``. Raises RunFolderError or InputError where it has no AI labels."""
    path = path.resolve()
    manifest, data = read_run(path)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RunFolderError(
            f"{path} has a recipe that this version does not read "
            f"({error.errors()[0]['msg']}): use the version that made the run"
        ) from error
    labels = tuple(_labels(path, recipe))
    if not labels:
        raise InputError(
            f"{path} has no finished AI labels (stage {LABEL_STAGES[0]}): let the run get there, "
            "or give a run whose recipe has an RL stage with AI feedback"
        )
    return LabelledRun(path, manifest, recipe, _constitution(path, labels), labels)


def pair_of(comparison: Comparison) -> Pair:
    """The pair that a comparison was made of; one that was never asked about is not usable."""
    c = comparison
    return Pair(c.id, c.prompt, c.a, c.b, c.tags, "" if c.readings else "not asked")


def by_id(comparisons: Sequence[Comparison]) -> Mapping[str, Comparison]:
    """The comparisons by their ids."""
    return {comparison.id: comparison for comparison in comparisons}


def _labels(path: Path, recipe: Recipe) -> Iterator[Labels]:
    for stage in LABEL_STAGES:
        folder = path / STAGES / stage
        if recipe.rl is None or not (folder / STAGE).is_file():
            continue
        state = read_state(folder)
        if state.done:
            config = recipe.rl.labels_with_cot if stage.endswith("cot") else recipe.rl.feedback
            found: Records[Comparison] = read_records(folder, Comparison)
            yield Labels(stage, found, config, state)


def _constitution(path: Path, labels: Sequence[Labels]) -> Constitution:
    kept = path / CONSTITUTION
    if not kept.is_file():
        raise RunFolderError(
            f"{path} has no {CONSTITUTION}, so what it was labelled by is not known: put the run's "
            "constitution there (in YAML, as cai constitution convert writes it)"
        )
    found = load_constitution(kept)
    if any(made.state.inputs.get("constitution") != found.fingerprint for made in labels):
        raise RunFolderError(
            f"{kept} is not the constitution that the run was labelled by: restore the file"
        )
    return found

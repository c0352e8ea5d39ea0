"""All that a run reads before it computes anything, checked, so that a fault costs seconds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from constitutional.constitution import Constitution, load_constitution, merge, read_few_shots
from constitutional.dialogue import (
    PromptKind,
    PromptRecord,
    check_vocabulary,
    load_prompts,
    splits_overlap,
)
from constitutional.dialogue.transcript import render
from constitutional.engines.base import Style
from constitutional.evaluation.verdicts import HelpfulnessRater, Judge
from constitutional.recipe import Prompts, Recipe, resource
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed


@dataclass(frozen=True)
class Model:
    """A model as a run reads it: where it is, its prompt form, and a hash of its files."""

    path: str
    style: Style
    fingerprint: str


@dataclass(frozen=True)
class RLInputs:
    """What the RL stage reads besides. Of the two kinds of human data one is empty."""

    comparisons: tuple[PromptRecord, ...]
    red_team: tuple[PromptRecord, ...]
    helpful: tuple[PromptRecord, ...]
    #: Human comparisons from a file, or prompts and who compares the answers to them.
    human: tuple[Comparison, ...]
    human_prompts: tuple[PromptRecord, ...]
    rater: HelpfulnessRater | None


@dataclass(frozen=True)
class Inputs:
    """What the stages work with. ``notes`` are sentences that the user should read."""

    constitution: Constitution
    red_team: tuple[PromptRecord, ...]
    helpful: tuple[PromptRecord, ...]
    evaluation: tuple[PromptRecord, ...]
    judge: Judge | None
    pretrained_model: Model
    helpful_model: Model
    rl: RLInputs | None
    notes: tuple[str, ...]

    @property
    def hashes(self) -> dict[str, str]:
        """A hash of each input, for the run's manifest."""
        return {
            "constitution": self.constitution.fingerprint,
            "pretrained": self.pretrained_model.fingerprint,
            "helpful": self.helpful_model.fingerprint,
            "prompts.red_team": _hash(self.red_team),
            "prompts.helpful": _hash(self.helpful),
            "evaluation": _hash(self.evaluation),
            **({} if self.rl is None else self._rl_hashes(self.rl)),
        }

    @staticmethod
    def _rl_hashes(rl: RLInputs) -> dict[str, str]:
        return {
            f"rl.{name}": _hash(getattr(rl, name))
            for name in ("comparisons", "red_team", "helpful", "human", "human_prompts")
        }


def load_inputs(recipe: Recipe, base: Path, *, skipped: Path | None = None) -> Inputs:
    """Read and check everything that ``recipe`` names; ``base`` is the folder its paths start from.

    With ``skipped`` malformed prompt lines are counted and set aside in files of that folder;
    without it the first one raises PromptFileError.
    """
    notes: list[str] = []

    def prompts(source: Prompts, kind: PromptKind, use: str) -> tuple[PromptRecord, ...]:
        return _prompts(source, kind, use, recipe.seed, base, skipped, notes)

    constitution = _constitution(recipe, base)
    red_team = prompts(recipe.prompts.red_team, "red_team", "prompts.red_team")
    helpful = prompts(recipe.prompts.helpful, "helpful", "prompts.helpful")
    evaluation: tuple[PromptRecord, ...] = ()
    if recipe.evaluation is not None:
        evaluation = (
            *prompts(recipe.evaluation.red_team, "red_team", "evaluation.red_team"),
            *prompts(recipe.evaluation.helpful, "helpful", "evaluation.helpful"),
        )
    rl = _rl(recipe, base, prompts)
    if evaluation:
        trained_on = (*red_team, *helpful)
        if rl is not None:
            trained_on += (*rl.comparisons, *rl.red_team, *rl.helpful, *rl.human_prompts)
        shared = splits_overlap(evaluation, trained_on)
        if shared:
            notes.append(
                f"{len(shared)} evaluation prompts are also trained on, the first being "
                f"{shared[0]}: figures on them say nothing of new prompts"
            )
    pretrained, _ = _model(recipe.models.pretrained, recipe, base)
    helpful_model, tokenizer = _model(recipe.models.helpful, recipe, base)
    every_prompt = (*red_team, *helpful, *evaluation)
    if rl is not None:
        every_prompt += (*rl.comparisons, *rl.red_team, *rl.helpful, *rl.human_prompts)
    check_vocabulary(tokenizer, _texts(constitution, every_prompt))
    return Inputs(
        constitution=constitution,
        red_team=red_team,
        helpful=helpful,
        evaluation=evaluation,
        judge=_judge(recipe),
        pretrained_model=pretrained,
        helpful_model=helpful_model,
        rl=rl,
        notes=tuple(notes),
    )


def _rl(
    recipe: Recipe,
    base: Path,
    prompts: Callable[[Prompts, PromptKind, str], tuple[PromptRecord, ...]],
) -> RLInputs | None:
    if recipe.rl is None:
        return None
    human: tuple[Comparison, ...] = ()
    asked: tuple[PromptRecord, ...] = ()
    rater: HelpfulnessRater | None = None
    helpfulness = recipe.rl.helpfulness
    if helpfulness.prompts is not None:
        from constitutional.microworld.human import Human

        asked, rater = prompts(helpfulness.prompts, "helpful", "rl.helpfulness"), Human()
    elif helpfulness.file is not None:
        from constitutional.preference.data import read_hh_rlhf

        found = read_hh_rlhf(resource(helpfulness.file, base), goal="helpfulness", seed=recipe.seed)
        human = tuple(found.comparisons)
    return RLInputs(
        comparisons=prompts(recipe.rl.comparisons, "red_team", "rl.comparisons"),
        red_team=prompts(recipe.rl.red_team, "red_team", "rl.red_team"),
        helpful=prompts(recipe.rl.helpful, "helpful", "rl.helpful"),
        human=human,
        human_prompts=asked,
        rater=rater,
    )


def _constitution(recipe: Recipe, base: Path) -> Constitution:
    parts = [load_constitution(resource(name, base)) for name in recipe.constitution]
    constitution = parts[0] if len(parts) == 1 else merge(parts[0], parts[1])
    for name in recipe.few_shots:
        constitution = constitution.with_few_shots(read_few_shots(resource(name, base)))
    return constitution


def _prompts(
    source: Prompts,
    kind: PromptKind,
    use: str,
    seed: int,
    base: Path,
    skipped: Path | None,
    notes: list[str],
) -> tuple[PromptRecord, ...]:
    found = load_prompts(
        resource(source.file, base),
        kind=kind,
        column=source.column,
        skip_bad_to=None if skipped is None else skipped / f"skipped-{use}.jsonl",
    )
    if found.bad:
        notes.append(f"{use}: {found.bad} of {found.read} lines are malformed and were set aside")
    if found.duplicates:
        notes.append(f"{use}: {found.duplicates} prompts occur again and are used once")
    records = found.records
    if source.limit is not None and source.limit < len(records):
        chosen = random.Random(derive_seed(seed, use)).sample(range(len(records)), source.limit)
        records = tuple(records[i] for i in sorted(chosen))
    return records


def _model(name: str, recipe: Recipe, base: Path) -> tuple[Model, Any]:
    from constitutional.engines.loading import load_tokenizer

    path = resource(name, base)
    tokenizer = load_tokenizer(path)
    style = recipe.models.style
    if style == "auto":
        style = "chat" if getattr(tokenizer, "chat_template", None) else "transcript"
    return Model(path, style, _files_hash(path)), tokenizer


def _files_hash(model: str) -> str:
    """A hash of a model folder's files; of a hub name, the name (its files are not here yet)."""
    folder = Path(model)
    digest = hashlib.sha256()
    if not folder.is_dir():
        return f"hub:{model}"
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors"}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _judge(recipe: Recipe) -> Judge | None:
    if recipe.evaluation is None or recipe.evaluation.judge is None:
        return None
    from constitutional.microworld.oracle import Oracle

    return Oracle()


def _texts(constitution: Constitution, prompts: tuple[PromptRecord, ...]) -> Mapping[str, str]:
    """Everything that the models will read, by where it stands."""
    texts = {}
    for p in constitution.principles:
        where = f"constitution {constitution.name}, principle {p.id}"
        asked = [p.critique, p.revision] if "critique" in p.uses else []
        # each text in its place: what stands before a word may be part of its token
        texts[where] = "".join(f" {text}" for text in asked)
        if "comparison" in p.uses:
            texts[where] += f"\n\n\n{p.comparison} Options:"
    for prompt in prompts:
        texts[f"{prompt.source}, prompt {prompt.id}"] = render(prompt.conversation)
    return texts


def _hash(records: Iterable[BaseModel]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(record.model_dump_json().encode())
    return digest.hexdigest()

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
    Conversation,
    PromptKind,
    PromptRecord,
    check_vocabulary,
    load_prompts,
    splits_overlap,
)
from constitutional.dialogue.transcript import render
from constitutional.engines.base import Style
from constitutional.errors import InputError
from constitutional.evaluation.harm_score import RatedConversation, read_rated
from constitutional.evaluation.judges import HELPFULNESS
from constitutional.evaluation.verdicts import Judge, Rater
from constitutional.preference.settings import Goal
from constitutional.recipe import (
    SNAPSHOTS,
    HumanComparisons,
    Prompts,
    RankedAnswers,
    Recipe,
    resource,
)
from constitutional.runs.lines import fingerprint_of
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed


@dataclass(frozen=True)
class Model:
    """A model as a run reads it: where it is, its prompt form, and a hash of its files."""

    path: str
    style: Style
    fingerprint: str


@dataclass(frozen=True)
class HumanData:
    """Human comparisons from a file, or prompts and who compares the answers to them."""

    comparisons: tuple[Comparison, ...] = ()
    prompts: tuple[PromptRecord, ...] = ()
    rater: Rater | None = None


@dataclass(frozen=True)
class RLInputs:
    """What the RL stage reads besides. ``contrast``: who answers besides SL-CAI."""

    comparisons: tuple[PromptRecord, ...]
    contrast: tuple[Model, ...]
    helpfulness: HumanData
    harmlessness: HumanData
    #: Pairs of ranked answers, for preference model pretraining.
    ranked: tuple[Comparison, ...]
    red_team: tuple[PromptRecord, ...]
    helpful: tuple[PromptRecord, ...]

    @property
    def prompts(self) -> tuple[PromptRecord, ...]:
        """All prompts, which the evaluation's should not be among."""
        human = (*self.helpfulness.prompts, *self.harmlessness.prompts)
        return (*self.comparisons, *human, *self.red_team, *self.helpful)

    @property
    def hashes(self) -> dict[str, str]:
        """A hash of each input."""
        return {
            "rl.comparisons": _hash(self.comparisons),
            "rl.contrast": fingerprint_of([model.fingerprint for model in self.contrast]),
            **{
                f"rl.{goal}": _hash((*data.comparisons, *data.prompts))
                for goal, data in (
                    ("helpfulness", self.helpfulness),
                    ("harmlessness", self.harmlessness),
                )
            },
            "rl.ranked": _hash(self.ranked),
            "rl.red_team": _hash(self.red_team),
            "rl.helpful": _hash(self.helpful),
        }


@dataclass(frozen=True)
class Inputs:
    """What the stages work with. ``notes`` are sentences that the user should read.

    ``constitution`` and ``helpful_model`` are None only where a recipe begins with demonstrations.
    """

    constitution: Constitution | None
    demonstrations: tuple[Conversation, ...]
    red_team: tuple[PromptRecord, ...]
    helpful: tuple[PromptRecord, ...]
    evaluation: tuple[PromptRecord, ...]
    judge: Judge | None
    pretrained_model: Model
    helpful_model: Model | None
    rl: RLInputs | None
    #: Rated conversations for the harm score, or prompts for answers that the judge rates.
    rated: tuple[RatedConversation, ...]
    harm_prompts: tuple[PromptRecord, ...]
    ai_judge: Model | None
    notes: tuple[str, ...]

    @property
    def hashes(self) -> dict[str, str]:
        """A hash of each input, for the run's manifest."""
        found = {
            "pretrained": self.pretrained_model.fingerprint,
            "prompts.red_team": _hash(self.red_team),
            "prompts.helpful": _hash(self.helpful),
            "evaluation": _hash(self.evaluation),
        }
        if self.constitution is not None:
            found["constitution"] = self.constitution.fingerprint
        if self.helpful_model is not None:
            found["helpful"] = self.helpful_model.fingerprint
        if self.demonstrations:
            found["demonstrations"] = _hash(self.demonstrations)
        if self.rated or self.harm_prompts:
            found["harm_score"] = _hash((*self.rated, *self.harm_prompts))
        if self.ai_judge is not None:
            found["ai_judge"] = self.ai_judge.fingerprint
        return found if self.rl is None else found | self.rl.hashes


def load_inputs(recipe: Recipe, base: Path, *, skipped: Path | None = None) -> Inputs:
    """Read and check everything that ``recipe`` names; ``base`` is the folder its paths start from.

    With ``skipped`` malformed prompt lines are counted and set aside in files of that folder;
    without it the first one raises PromptFileError.
    """
    notes: list[str] = []

    def prompts(source: Prompts | None, kind: PromptKind, use: str) -> tuple[PromptRecord, ...]:
        if source is None:
            return ()
        return _prompts(source, kind, use, recipe.seed, base, skipped, notes)

    constitution = _constitution(recipe, base)
    red_team: tuple[PromptRecord, ...] = ()
    helpful: tuple[PromptRecord, ...] = ()
    evaluation: tuple[PromptRecord, ...] = ()
    if recipe.prompts is not None:
        red_team = prompts(recipe.prompts.red_team, "red_team", "prompts.red_team")
        helpful = prompts(recipe.prompts.helpful, "helpful", "prompts.helpful")
    if recipe.evaluation is not None:
        evaluation = (
            *prompts(recipe.evaluation.red_team, "red_team", "evaluation.red_team"),
            *prompts(recipe.evaluation.helpful, "helpful", "evaluation.helpful"),
        )
    demonstrations = _demonstrations(recipe, base)
    ratings = recipe.evaluation and recipe.evaluation.harm_score
    harm_prompts: tuple[PromptRecord, ...] = ()
    rated: tuple[RatedConversation, ...] = ()
    if ratings and ratings.prompts:
        harm_prompts = prompts(ratings.prompts, "red_team", "evaluation.harm_score")
    elif ratings and ratings.file:
        ratings_found = read_rated(resource(ratings.file, base))
        rated = tuple(ratings_found.rated)
        notes += _left_out("evaluation.harm_score", ratings_found.left_out)
    pretrained, tokenizer = _model(recipe.models.pretrained, recipe, base)
    helpful_model = None
    if recipe.models.helpful is not None:
        helpful_model, tokenizer = _model(recipe.models.helpful, recipe, base)
    known = {"pretrained": pretrained, "helpful": helpful_model}
    rl = _rl(recipe, base, prompts, known, notes)
    ai_judge = _ai_judge(recipe, base, known)
    trained_on = (*red_team, *helpful, *harm_prompts, *(() if rl is None else rl.prompts))
    if shared := splits_overlap(evaluation, trained_on):
        notes.append(
            f"{len(shared)} evaluation prompts are also trained on, the first being "
            f"{shared[0]}: figures on them say nothing of new prompts"
        )
    check_vocabulary(tokenizer, _texts(constitution, (*trained_on, *evaluation)))
    prompted = recipe.evaluation is not None and recipe.evaluation.prompted
    if prompted and helpful_model is not None and helpful_model.style != "chat":
        raise InputError(
            "'prompted' puts the constitution into a system prompt, and the helpful model has no "
            "chat template to hold one: leave evaluation.prompted out"
        )
    return Inputs(
        constitution=constitution,
        demonstrations=demonstrations,
        red_team=red_team,
        helpful=helpful,
        evaluation=evaluation,
        judge=_judge(recipe),
        pretrained_model=pretrained,
        helpful_model=helpful_model,
        rl=rl,
        rated=rated,
        harm_prompts=harm_prompts,
        ai_judge=ai_judge,
        notes=tuple(notes),
    )


#: Reads one prompt set of the recipe: its source, its kind, and what it is called there.
_Read = Callable[[Prompts | None, PromptKind, str], tuple[PromptRecord, ...]]


def _known_or_other(
    name: str, known: Mapping[str, Model | None], recipe: Recipe, base: Path
) -> Model:
    """The recipe's pretrained or helpful model by these words, or another model."""
    if name in known and known[name] is None:
        raise InputError(f"the recipe speaks of the {name} model, and its 'models' name none")
    return known.get(name) or _model(name, recipe, base)[0]


def _ai_judge(recipe: Recipe, base: Path, known: Mapping[str, Model | None]) -> Model | None:
    """The AI judge, whose vocabulary must hold the words of the principle that is ours."""
    if recipe.evaluation is None or recipe.evaluation.ai_judge is None:
        return None
    from constitutional.engines.loading import load_tokenizer

    judge = _known_or_other(recipe.evaluation.ai_judge.model, known, recipe, base)
    if "helpfulness" in recipe.evaluation.ai_judge.goals:
        try:
            check_vocabulary(load_tokenizer(judge.path), _principle_texts(HELPFULNESS))
        except InputError as error:
            raise InputError(
                f"the AI judge cannot read what it is to judge helpfulness by ({error}): "
                "give evaluation.ai_judge 'goals: [harmlessness]'"
            ) from None
    return judge


def _left_out(use: str, counts: Mapping[str, int]) -> list[str]:
    """A note on the rows of a file that are not used, with the reasons."""
    reasons = ", ".join(f"{n} ({reason})" for reason, n in sorted(counts.items()))
    return [f"{use}: rows left out: {reasons}"] if reasons else []


def _rl(
    recipe: Recipe,
    base: Path,
    prompts: _Read,
    known: Mapping[str, Model | None],
    notes: list[str],
) -> RLInputs | None:
    rl = recipe.rl
    if rl is None:
        return None
    others = [name for name in rl.contrast if name != SNAPSHOTS]
    contrast = [_known_or_other(name, known, recipe, base) for name in others]
    hh_rlhf = rl.harmlessness if "hh_rlhf" in rl.arms else None
    return RLInputs(
        comparisons=prompts(rl.comparisons, "red_team", "rl.comparisons"),
        contrast=tuple(contrast),
        helpfulness=_human(rl.helpfulness, "helpfulness", recipe, base, prompts, notes),
        harmlessness=_human(hh_rlhf, "harmlessness", recipe, base, prompts, notes),
        ranked=_ranked(rl.pmp, recipe, base),
        red_team=prompts(rl.red_team, "red_team", "rl.red_team"),
        helpful=prompts(rl.helpful, "helpful", "rl.helpful"),
    )


def _ranked(source: RankedAnswers | None, recipe: Recipe, base: Path) -> tuple[Comparison, ...]:
    if source is None:
        return ()
    from constitutional.preference.ranked import ranked_pairs, read_ranked

    return tuple(ranked_pairs(read_ranked(resource(source.file, base)), seed=recipe.seed))


def _human(
    source: HumanComparisons | None,
    goal: Goal,
    recipe: Recipe,
    base: Path,
    prompts: _Read,
    notes: list[str],
) -> HumanData:
    if source is None:
        return HumanData()
    if source.file is not None:
        from constitutional.preference.data import read_hh_rlhf

        found = read_hh_rlhf(resource(source.file, base), goal=goal, seed=recipe.seed)
        notes += _left_out(f"rl.{goal}", found.left_out)
        return HumanData(comparisons=tuple(found.comparisons))
    from constitutional.microworld.human import Human

    kind: PromptKind = "helpful" if goal == "helpfulness" else "red_team"
    return HumanData(prompts=prompts(source.prompts, kind, f"rl.{goal}"), rater=Human())


def _demonstrations(recipe: Recipe, base: Path) -> tuple[Conversation, ...]:
    if recipe.demonstrations is None:
        return ()
    from constitutional.supervised.demonstrations import read_demonstrations

    return read_demonstrations(resource(recipe.demonstrations, base))


def _constitution(recipe: Recipe, base: Path) -> Constitution | None:
    if not recipe.constitution:
        return None
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
    records: dict[str, PromptRecord] = {}
    for number, file in enumerate(source.file, start=1):
        aside = f"skipped-{use}.jsonl" if len(source.file) == 1 else f"skipped-{use}-{number}.jsonl"
        found = load_prompts(
            resource(file, base),
            kind=kind,
            column=source.column,
            skip_bad_to=None if skipped is None else skipped / aside,
        )
        if found.bad:
            lines = f"{found.bad} of {found.read} lines are malformed and were set aside"
            notes.append(f"{use}: {lines}")
        there = {record.conversation for record in records.values()}
        new = [record for record in found.records if record.conversation not in there]
        if again := len(found.records) - len(new) + found.duplicates:
            notes.append(f"{use}: {again} prompts occur again and are used once")
        if clash := next((record.id for record in new if record.id in records), None):
            raise InputError(
                f"{use}: the id {clash!r} is that of another prompt in another of its files: give "
                "it its own"
            )
        records |= {record.id: record for record in new}
    chosen = tuple(records.values())
    if source.limit is not None and source.limit < len(chosen):
        drawn = random.Random(derive_seed(seed, use)).sample(range(len(chosen)), source.limit)
        chosen = tuple(chosen[i] for i in sorted(drawn))
    return chosen


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


def _texts(
    constitution: Constitution | None, prompts: tuple[PromptRecord, ...]
) -> Mapping[str, str]:
    """Everything that the models will read, by where it stands."""
    texts = {} if constitution is None else _principle_texts(constitution)
    for prompt in prompts:
        texts[f"{prompt.source}, prompt {prompt.id}"] = render(prompt.conversation)
    return texts


def _principle_texts(constitution: Constitution) -> dict[str, str]:
    texts = {}
    for p in constitution.principles:
        where = f"constitution {constitution.name}, principle {p.id}"
        asked = [p.critique, p.revision] if "critique" in p.uses else []
        # each text in its place: what stands before a word may be part of its token
        texts[where] = "".join(f" {text}" for text in asked)
        if "comparison" in p.uses:
            texts[where] += f"\n\n\n{p.comparison} Options:"
    return texts


def _hash(records: Iterable[BaseModel]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(record.model_dump_json().encode())
    return digest.hexdigest()

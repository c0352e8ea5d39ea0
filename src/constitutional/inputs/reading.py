"""All that a run reads before it computes anything, checked, so that a fault costs seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from constitutional.constitution import Constitution
from constitutional.dialogue import PromptRecord, check_vocabulary
from constitutional.dialogue.transcript import render
from constitutional.errors import InputError
from constitutional.evaluation.harm_score import RatedConversation
from constitutional.evaluation.judges import HELPFULNESS
from constitutional.evaluation.verdicts import Judge
from constitutional.inputs.data import DataReader
from constitutional.inputs.models import Model, ModelReader
from constitutional.inputs.records import Inputs, RLInputs
from constitutional.inputs.splits import (
    note_of_overlap,
    refuse_ids_twice,
    trained_conversations,
)
from constitutional.jobs.configurations import SHIPPED, find_launcher
from constitutional.jobs.launch import Launcher
from constitutional.recipe import (
    SNAPSHOTS,
    Evaluation,
    Recipe,
    Reinforcement,
    read_constitution,
    resource,
)
from constitutional.spool import Spooled


def load_inputs(recipe: Recipe, base: Path, *, skipped: Path | None = None) -> Inputs:
    """Read and check everything that ``recipe`` names; ``base`` is the folder its paths start from.

    With ``skipped`` malformed prompt lines are counted and set aside in files of that folder;
    without it the first one raises PromptFileError.
    """
    launcher = _launcher(recipe, base)
    read, models = DataReader(recipe.seed, base, skipped), ModelReader(recipe, base)
    constitution = read_constitution(recipe.constitution, recipe.few_shots, base)
    asked, evaluation = recipe.prompts, recipe.evaluation
    red_team = read.prompts(asked.red_team if asked else None, "red_team", "prompts.red_team")
    helpful = read.prompts(asked.helpful if asked else None, "helpful", "prompts.helpful")
    judged_on = _judged_on(evaluation, read)
    demonstrations = read.demonstrations(recipe.demonstrations)
    harm_prompts, rated = _harm_score(evaluation, read)
    pretrained = models.model(recipe.models.pretrained)
    named = {name: models.model(name) for name in recipe.engines}
    helpful_model = _named(recipe.models.helpful, named, models)
    known = {**named, "pretrained": pretrained, "helpful": helpful_model}
    rl = _rl(recipe.rl, known, read, models)
    if recipe.rl is not None and recipe.rl.begins_from == "helpful":
        _refuse_another_form(pretrained, helpful_model)
    ai_judge = _ai_judge(recipe, known, models)
    critic = _named(recipe.models.critic, known, models)

    supervised = (red_team, helpful, harm_prompts)
    trained = trained_conversations(chain(*supervised), rl, demonstrations, rated)
    if note := note_of_overlap(judged_on, trained):
        read.notes.append(note)
    spoken = None if helpful_model is None else models.tokenizer(helpful_model.path)
    _refuse_unknown_words(
        spoken or models.tokenizer(recipe.models.pretrained),
        constitution,
        chain(*supervised, () if rl is None else rl.prompts, judged_on),
    )
    _refuse_prompted(evaluation, helpful_model)
    return Inputs(
        constitution=constitution,
        demonstrations=demonstrations,
        red_team=red_team,
        helpful=helpful,
        evaluation=judged_on,
        judge=judge_called(evaluation.judge if evaluation else None),
        pretrained_model=pretrained,
        helpful_model=helpful_model,
        rl=rl,
        rated=rated,
        harm_prompts=harm_prompts,
        ai_judge=ai_judge,
        notes=tuple(read.notes),
        critic_model=critic,
        named=named,
        engines=models.engines(),
        launcher=launcher,
    )


def read_rl_data(recipe: Recipe, base: Path, *, skipped: Path) -> RLInputs:
    """The prompts and comparisons of the RL stage, without the models that would answer them.

    Malformed prompt lines are set aside in ``skipped``. Raises InputError without an RL stage.
    """
    if recipe.rl is None:
        raise InputError("the recipe has no RL stage: there is no 'rl' section in it")
    return DataReader(recipe.seed, base, skipped).rl(recipe.rl)


def _judged_on(evaluation: Evaluation | None, read: DataReader) -> Spooled[PromptRecord]:
    """The prompts of the evaluation, no id of which may be two prompts'."""
    sets = [
        read.prompts(
            evaluation.red_team if evaluation else None, "red_team", "evaluation.red_team"
        ),
        read.prompts(evaluation.helpful if evaluation else None, "helpful", "evaluation.helpful"),
    ]
    refuse_ids_twice("evaluation", sets)
    return Spooled(chain.from_iterable(sets))


def _harm_score(
    evaluation: Evaluation | None, read: DataReader
) -> tuple[Sequence[PromptRecord], tuple[RatedConversation, ...]]:
    """What a model of harm learns from: prompts whose answers are to be rated, and rated ones."""
    ratings = evaluation.harm_score if evaluation else None
    prompts = ratings.prompts if ratings else None
    return read.prompts(prompts, "red_team", "evaluation.harm_score"), read.rated(ratings)


def _rl(
    section: Reinforcement | None,
    known: Mapping[str, Model | None],
    read: DataReader,
    models: ModelReader,
) -> RLInputs | None:
    if section is None:
        return None
    others = [name for name in section.contrast if name != SNAPSHOTS]
    return read.rl(section, tuple(models.known_or_other(name, known) for name in others))


def _refuse_unknown_words(
    tokenizer: Any, constitution: Constitution | None, prompts: Iterable[PromptRecord]
) -> None:
    """Raise InputError for a word of a principle or a prompt that the models cannot read."""
    if constitution is not None:
        check_vocabulary(tokenizer, _principle_texts(constitution))
    for prompt in prompts:
        where = f"{prompt.source}, prompt {prompt.id}"
        check_vocabulary(tokenizer, {where: render(prompt.conversation)})


def _refuse_prompted(evaluation: Evaluation | None, helpful_model: Model | None) -> None:
    if evaluation and evaluation.prompted and helpful_model and helpful_model.style != "chat":
        raise InputError(
            "'prompted' puts the constitution into a system prompt, and the helpful model has no "
            "chat template to hold one: leave evaluation.prompted out"
        )


def _launcher(recipe: Recipe, base: Path) -> Launcher | None:
    training = recipe.training
    if training is None or recipe.execution != "local":  # Ray starts a training's processes itself
        return None
    shipped = training.config in SHIPPED
    return find_launcher(
        training.processes, training.config if shipped else resource(training.config, base)
    )


def _refuse_another_form(pretrained: Model, helpful: Model | None) -> None:
    """The preference model, which is made of the pretrained one, has to read the policy's form."""
    if helpful is not None and helpful.style != pretrained.style:
        raise InputError(
            f"'rl.begins_from: helpful' needs a helpful model that reads the pretrained one's form "
            f"({pretrained.style}), and it reads {helpful.style}: set models.style"
        )


def _named(
    name: str | None, known: Mapping[str, Model | None], models: ModelReader
) -> Model | None:
    return None if name is None else models.known_or_other(name, known)


def _ai_judge(
    recipe: Recipe, known: Mapping[str, Model | None], models: ModelReader
) -> Model | None:
    """The AI judge, whose vocabulary must hold the words of the principle that is ours."""
    if recipe.evaluation is None or recipe.evaluation.ai_judge is None:
        return None
    judge = models.known_or_other(recipe.evaluation.ai_judge.model, known)
    tokenizer = models.tokenizer(judge.path)
    if tokenizer is not None and "helpfulness" in recipe.evaluation.ai_judge.goals:
        try:
            check_vocabulary(tokenizer, _principle_texts(HELPFULNESS))
        except InputError as error:
            raise InputError(
                f"the AI judge cannot read what it is to judge helpfulness by ({error}): "
                "give evaluation.ai_judge 'goals: [harmlessness]'"
            ) from None
    return judge


def judge_called(name: str | None) -> Judge | None:
    """The judge that a recipe names, which reads one answer at a time; None without a name."""
    if name is None:
        return None
    from constitutional.microworld.oracle import Oracle

    return Oracle()


def _principle_texts(constitution: Constitution) -> dict[str, str]:
    """What the models will read of a constitution, by where it stands."""
    texts = {}
    for p in constitution.principles:
        where = f"constitution {constitution.name}, principle {p.id}"
        asked = [p.critique, p.revision] if "critique" in p.uses else []
        # each text in its place: what stands before a word may be part of its token
        texts[where] = "".join(f" {text}" for text in asked)
        if "comparison" in p.uses:
            texts[where] += f"\n\n\n{p.comparison} Options:"
    return texts

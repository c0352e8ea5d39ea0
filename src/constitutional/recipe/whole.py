"""A whole recipe, and what its parts must agree on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from constitutional.engines.base import Quantize
from constitutional.engines.settings import EngineSettings
from constitutional.errors import nearest
from constitutional.recipe.data_sets import Demonstrations, PromptSets
from constitutional.recipe.evaluating import Evaluation
from constitutional.recipe.executing import RayCluster
from constitutional.recipe.launching import Training
from constitutional.recipe.reinforcing import SNAPSHOTS, Reinforcement
from constitutional.recipe.section import Section, one_or_several
from constitutional.refusal import refusal
from constitutional.supervised.settings import CritiqueRevisionConfig, FinetuneConfig
from constitutional.training_settings import not_divided

_ENGINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Models(Section):
    """Which models, and how they are run.

    A model is a folder or a name on the hub; the helpful one and the critic may be engines of
    section ``engines``. The pretrained model is trained, so it has to be here.
    """

    #: The model that is finetuned into SL-CAI (the paper finetunes this one, not the helpful one).
    pretrained: str
    #: The helpful-only model, which responds, criticises and revises. A recipe that begins with
    #: demonstrations may do without one.
    helpful: str | None = None
    #: Who criticises in place of the helpful model, which still responds and revises.
    critic: str | None = None
    #: Prompt form: the model's own chat template, the paper's transcript, or chat where there is a
    #: template (auto).
    style: Literal["auto", "transcript", "chat"] = "auto"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    #: Hold local models that only answer in 4 bits; trainings have a key of their own in ``lora``.
    quantize: Quantize | None = None
    #: Requests that a local model works on at once.
    batch_size: int = Field(default=64, ge=1)


class Recipe(Section):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    #: One constitution file, or two that are merged: one to critique and revise, one to compare.
    #: Only a recipe without critique, revision and AI feedback does without.
    constitution: tuple[str, ...] = Field(default=(), max_length=2)
    #: Files of few-shot examples, in place of those in the constitution.
    few_shots: tuple[str, ...] = ()
    models: Models
    #: Other models, here or behind a server, by names that ``models.helpful``, ``models.critic``,
    #: ``rl.contrast``, ``rl.feedback_model`` and ``evaluation.ai_judge`` may use.
    engines: dict[str, EngineSettings] = Field(default_factory=dict)
    #: The prompts of the supervised stage.
    prompts: PromptSets | None = None
    #: In place of ``prompts``: a file of conversations, on whose last turns the pretrained model
    #: is finetuned. RL from human feedback begins so, without a constitution.
    demonstrations: Demonstrations | None = None
    supervised: CritiqueRevisionConfig = CritiqueRevisionConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    #: On how many processes trainings run; leave out to train in this one.
    training: Training | None = None
    #: Leave out to stop after the supervised stage.
    rl: Reinforcement | None = None
    evaluation: Evaluation | None = None
    #: Records in a block, the unit of work and of resuming; it decides which requests stand beside
    #: each other, so it belongs to the recipe and not to the machine.
    block: int = Field(default=128, ge=1)
    #: In this process, or on the Ray cluster of section ``ray``, with the same records.
    execution: Literal["local", "ray"] = "local"
    ray: RayCluster = RayCluster()

    @field_validator("constitution", "few_shots", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("engines")
    @classmethod
    def _names(cls, engines: dict[str, EngineSettings]) -> dict[str, EngineSettings]:
        for name in engines:
            if name in ("pretrained", "helpful", SNAPSHOTS) or not _ENGINE_NAME.fullmatch(name):
                raise refusal(
                    f"an engine cannot be called {name!r}: use letters, digits, _ and -, and none "
                    f"of pretrained, helpful, {SNAPSHOTS}, which have a meaning already",
                    name,
                )
        return engines

    @model_validator(mode="after")
    def _engines_are_used(self) -> Recipe:
        rl, judge = self.rl, self.evaluation and self.evaluation.ai_judge
        if self.models.pretrained in self.engines:
            raise refusal(
                f"'pretrained' is trained and has to be a model folder or a hub name, and "
                f"{self.models.pretrained!r} is an engine",
                "models",
                "pretrained",
            )
        labels = [rl.feedback_model] if rl else []
        if rl and rl.feedback_model not in ("pretrained", "helpful", *self.engines):
            raise refusal(
                "'feedback_model' must be pretrained, helpful or the name of an engine, found "
                f"{rl.feedback_model!r}; "
                + nearest(rl.feedback_model, ["pretrained", "helpful", *self.engines]),
                "rl",
                "feedback_model",
            )
        named = {self.models.helpful, self.models.critic, judge and judge.model, *labels}
        named |= set(rl.contrast) if rl else set()
        if idle := next((name for name in self.engines if name not in named), None):
            raise refusal(
                f"nothing uses engine {idle!r}: name it in models.helpful, models.critic, "
                "rl.feedback_model, rl.contrast or evaluation.ai_judge, or leave it out",
                "engines",
                idle,
            )
        return self

    @model_validator(mode="after")
    def _critic_criticises(self) -> Recipe:
        if self.models.critic is not None and not (self.prompts and self.supervised.critique):
            raise refusal(
                "'critic' criticises in the supervised stage, and this recipe has no critiques: "
                "leave it out",
                "models",
                "critic",
            )
        return self

    @field_validator("demonstrations", mode="before")
    @classmethod
    def _a_file_alone(cls, value: Any) -> Any:
        return value if value is None or isinstance(value, Mapping) else {"file": value}

    @model_validator(mode="after")
    def _one_supervised_stage(self) -> Recipe:
        if (self.prompts is None) == (self.demonstrations is None):
            raise refusal(
                "a recipe begins with 'prompts' (critique and revision) or with 'demonstrations', "
                "and needs one of the two"
            )
        own_pairs = self.rl is not None and self.rl.compares_own_answers
        if self.demonstrations is not None and own_pairs:
            raise refusal(
                "RL-CAI begins from SL-CAI, which needs 'prompts' in place of 'demonstrations'"
            )
        chosen = self.finetune.revisions != "all" or self.finetune.flagged != "leave_out"
        if self.demonstrations is not None and chosen:
            key = "revisions" if self.finetune.revisions != "all" else "flagged"
            raise refusal(
                f"'{key}' chooses among revisions, and demonstrations have none: leave it out",
                "finetune",
            )
        if self.prompts is not None:
            if not self.constitution:
                raise refusal("a recipe needs the key 'constitution': a file, or 'default'")
            if self.models.helpful is None:
                raise refusal(
                    "section 'models' needs the key 'helpful': who responds, criticises, revises",
                    "models",
                )
        return self

    @property
    def free_keys(self) -> tuple[str, ...]:
        """Keys that change no record, so that a run may go on with other values."""
        free = ("limits", "prices", "api_key_env", "gpu_memory_utilization")
        engines = (f"engines.{name}.{key}" for name in self.engines for key in free)
        return ("execution", "ray", "training", *engines)

    @model_validator(mode="after")
    def _trainings_are_shared_out(self) -> Recipe:
        if self.training is None:
            return self
        if self.execution == "ray" and self.training.config != "ddp":
            raise refusal(
                "with 'execution: ray' trainings keep whole weights in each process: 'config' must "
                f"be ddp, found {self.training.config!r}",
                "training",
                "config",
            )
        if self.rl is not None and self.rl.algorithm != "ppo":
            raise refusal(
                f"TRL's {self.rl.algorithm} runs in one process: leave section 'training' out, or "
                "use ppo",
                "rl",
                "algorithm",
            )
        for *section, key, size in self._batches():
            if size % self.training.processes:
                raise refusal(not_divided(key, size, self.training.processes), *section, key)
        return self

    def _batches(self) -> Iterator[tuple[Any, ...]]:
        """Where each size of a batch stands, and the size, last."""
        yield "finetune", "batch_size", self.finetune.batch_size
        if self.rl is not None:
            yield "rl", "preference", "batch_size", self.rl.preference.batch_size
            yield "rl", "ppo", "batch_size", self.rl.ppo.batch_size
            yield "rl", "ppo", "minibatch_size", self.rl.ppo.minibatch_size
            if self.rl.pmp is not None:
                yield "rl", "pmp", "batch_size", self.rl.pmp.batch_size

    @model_validator(mode="after")
    def _trains_what_is_here(self) -> Recipe:
        helpful = self.rl is not None and self.rl.begins_from == "helpful"
        if helpful and self.models.helpful in self.engines:
            raise refusal(
                "'begins_from: helpful' trains the helpful model, which has to be a model folder "
                f"or a hub name, and {self.models.helpful!r} is an engine",
                "rl",
                "begins_from",
            )
        return self

    @model_validator(mode="after")
    def _snapshots_are_kept(self) -> Recipe:
        compared = self.rl is not None and SNAPSHOTS in self.rl.contrast
        if compared and not (self.finetune.snapshot_steps and self.prompts):
            raise refusal(
                "'contrast: snapshots' needs 'prompts' and 'snapshot_steps' in section 'finetune': "
                "how often the finetuning keeps one",
                "rl",
            )
        return self

    @model_validator(mode="after")
    def _evaluation_has_what_it_needs(self) -> Recipe:
        evaluation = self.evaluation
        if evaluation is None:
            return self
        ratings = evaluation.harm_score
        if ratings and ratings.prompts and not (evaluation.judge and self.models.helpful):
            raise refusal(
                "'harm_score' with 'prompts' needs a judge, who rates, and a helpful model",
                "evaluation",
            )
        if evaluation.ai_judge and not self.constitution:
            raise refusal("'ai_judge' judges by a constitution, and there is none", "evaluation")
        if evaluation.prompted and not (self.constitution and self.models.helpful):
            raise refusal("'prompted' needs a constitution and a helpful model", "evaluation")
        return self

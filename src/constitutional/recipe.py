"""The recipe: everything that decides what a run computes, in one file.

Paths are relative to the recipe's folder; ``microworld:NAME`` names a file or folder of the
embedded microworld. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.documents import LocatedError, explain, parse_yaml
from constitutional.engines.base import SamplingParams
from constitutional.errors import RecipeError
from constitutional.feedback.settings import FeedbackConfig, PairsConfig
from constitutional.preference.settings import PreferenceConfig
from constitutional.refusal import refusal
from constitutional.rl.settings import PPOConfig
from constitutional.supervised.settings import CritiqueRevisionConfig, FinetuneConfig

MICROWORLD = "microworld:"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Models(_Section):
    """Which models, and how they are run. A model is a folder or a name on the hub."""

    #: The model that is finetuned into SL-CAI (the paper finetunes this one, not the helpful one).
    pretrained: str
    #: The helpful-only model, which responds, criticises and revises.
    helpful: str
    #: Prompt form: the model's own chat template, the paper's transcript, or chat where there is a
    #: template (auto).
    style: Literal["auto", "transcript", "chat"] = "auto"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    #: Requests that a local model works on at once.
    batch_size: int = Field(default=64, ge=1)


class Prompts(_Section):
    """A prompt set. ``limit`` draws so many by the run's seed; None takes all."""

    file: str
    limit: int | None = Field(default=None, ge=1)
    column: str | None = None


class PromptSets(_Section):
    """The prompts of the supervised stage."""

    red_team: Prompts
    helpful: Prompts


class Evaluation(_Section):
    """What the policies are judged on, and by whom."""

    red_team: Prompts
    helpful: Prompts
    #: ``microworld`` is the embedded oracle; without a judge the answers are sampled and kept.
    judge: Literal["microworld"] | None = None
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, ge=0)

    @property
    def sampling(self) -> SamplingParams:
        """How the policies answer."""
        return SamplingParams(self.max_new_tokens, self.temperature, STOP_STRINGS)


class Helpfulness(_Section):
    """Where the human comparisons for helpfulness come from: a file, or the microworld's oracle.

    ``file`` is in the form of hh-rlhf or of TRL. ``prompts`` are answered twice by the pretrained
    model, and the oracle plays the human who compares the answers.
    """

    file: str | None = None
    prompts: Prompts | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Helpfulness:
        if (self.file is None) == (self.prompts is None):
            raise refusal("'helpfulness' needs either 'file' or 'prompts'")
        return self


class Reinforcement(_Section):
    """The RL stage: AI feedback, preference model, PPO. The defaults are the paper's."""

    #: Red-team prompts on which two answers are compared.
    comparisons: Prompts
    #: Who answers them besides SL-CAI; the paper has SL-CAI answer twice.
    contrast: Literal["helpful"] | None = None
    pairs: PairsConfig = PairsConfig()
    feedback_model: Literal["pretrained", "helpful"] = "pretrained"
    feedback: FeedbackConfig = FeedbackConfig()
    helpfulness: Helpfulness
    #: The share of all comparisons that the preference model is judged on and not trained on.
    held_out: float = Field(default=0.1, gt=0, lt=1)
    preference: PreferenceConfig = PreferenceConfig()
    red_team: Prompts
    helpful: Prompts
    ppo: PPOConfig = PPOConfig()


class Recipe(_Section):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    #: One constitution file, or two that are merged: one to critique and revise, one to compare.
    constitution: tuple[str, ...] = Field(min_length=1, max_length=2)
    #: Files of few-shot examples, in place of those in the constitution.
    few_shots: tuple[str, ...] = ()
    models: Models
    prompts: PromptSets
    supervised: CritiqueRevisionConfig = CritiqueRevisionConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    #: Leave out to stop after the supervised stage.
    rl: Reinforcement | None = None
    evaluation: Evaluation | None = None
    #: Records in a block, the unit of work and of resuming; it decides which requests stand beside
    #: each other, so it belongs to the recipe and not to the machine.
    block: int = Field(default=128, ge=1)

    @field_validator("constitution", "few_shots", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def load_recipe(
    path: Path, *, seed: int | None = None, constitution: Sequence[str] | None = None
) -> Recipe:
    """Read a recipe; ``seed`` and ``constitution`` replace what it says.

    Raises RecipeError with the file, the line and the nearest known key. A constitution given here
    is a path from the working folder, so it is made absolute unless it is ``default`` or embedded.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"expected a recipe in YAML, but {reason}", path=path) from None
    try:
        document = parse_yaml(text)
        if not isinstance(document.data, dict):
            raise LocatedError("expected a recipe: keys such as name, constitution, models")
        data = dict(document.data)
        if seed is not None:
            data["seed"] = seed
        if constitution:
            data["constitution"] = [_from_here(name) for name in constitution]
        try:
            return Recipe.model_validate(data)
        except ValidationError as error:
            raise explain(error, document, Recipe, {Recipe: "a recipe"}) from None
    except LocatedError as error:
        raise RecipeError(error.sentence, path=path, line=error.line) from None


def _from_here(name: str) -> str:
    return name if name == "default" or name.startswith(MICROWORLD) else str(Path(name).absolute())


def resource(reference: str, base: Path) -> str:
    """Where a reference of a recipe leads: the microworld's files, a path, or a name on a hub.

    ``base`` is the recipe's folder. A relative path is returned joined to it where that exists;
    otherwise the reference is returned unchanged, for it may be a hub name.
    """
    if reference.startswith(MICROWORLD):
        from constitutional.microworld import data_file

        return str(data_file(reference.removeprefix(MICROWORLD)))
    path = Path(reference).expanduser()
    return str(base / path) if not path.is_absolute() and (base / path).exists() else reference

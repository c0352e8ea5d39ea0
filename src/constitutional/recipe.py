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
from constitutional.evaluation.judges import MARGIN, Goal
from constitutional.feedback.settings import FeedbackConfig, PairsConfig
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.refusal import refusal
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig
from constitutional.supervised.settings import CritiqueRevisionConfig, FinetuneConfig
from constitutional.training_settings import TrainingSettings

MICROWORLD = "microworld:"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Models(_Section):
    """Which models, and how they are run. A model is a folder or a name on the hub."""

    #: The model that is finetuned into SL-CAI (the paper finetunes this one, not the helpful one).
    pretrained: str
    #: The helpful-only model, which responds, criticises and revises. A recipe that begins with
    #: demonstrations may do without one.
    helpful: str | None = None
    #: Prompt form: the model's own chat template, the paper's transcript, or chat where there is a
    #: template (auto).
    style: Literal["auto", "transcript", "chat"] = "auto"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    #: Requests that a local model works on at once.
    batch_size: int = Field(default=64, ge=1)


class Prompts(_Section):
    """A prompt set, from one file or several. ``limit`` draws so many by the run's seed."""

    file: tuple[str, ...] = Field(min_length=1)
    limit: int | None = Field(default=None, ge=1)
    column: str | None = None

    @field_validator("file", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class PromptSets(_Section):
    """The prompts of the supervised stage."""

    red_team: Prompts
    helpful: Prompts


class HarmRatings(_Section):
    """What the absolute harm score is trained on (section 5): conversations rated from 0 to 4.

    ``file`` has them, such as red-team attempts with ratings; answers of the pretrained and of the
    helpful model to ``prompts`` are rated by the judge.
    """

    file: str | None = None
    prompts: Prompts | None = None
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _one_of_both(self) -> HarmRatings:
        if (self.file is None) == (self.prompts is None):
            raise refusal("'harm_score' needs either 'file' or 'prompts', and not both")
        return self


class AIJudge(_Section):
    """An engine that compares the policies' answers, by the constitution and in both orders."""

    #: ``helpful``, ``pretrained``, a model folder or a name on the hub.
    model: str
    #: How far from one half the mean of two orders that disagree is still a tie.
    margin: float = Field(default=MARGIN, ge=0, le=0.5)
    #: How many of the constitution's few-shot examples stand before a question; None for all.
    few_shots: int | None = Field(default=None, ge=0)
    #: Harmlessness is judged by the constitution, helpfulness by one principle of ours.
    goals: tuple[Goal, ...] = Field(default=("harmlessness", "helpfulness"), min_length=1)


class Evaluation(_Section):
    """What the policies are judged on, and by whom."""

    red_team: Prompts
    helpful: Prompts
    #: ``microworld`` is the embedded oracle; without a judge the answers are sampled and kept.
    judge: Literal["microworld"] | None = None
    #: Elo by an AI judge: beside the oracle, or in its place where there is none.
    ai_judge: AIJudge | None = None
    #: Also judge the helpful model with the constitution in its system prompt, which is the
    #: cheapest thing to try instead. Chat models alone have a place for it.
    prompted: bool = False
    #: Train a model that predicts harm, and report its mean over each policy's answers.
    harm_score: HarmRatings | None = None
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, ge=0)

    @property
    def sampling(self) -> SamplingParams:
        """How the policies answer."""
        return SamplingParams(self.max_new_tokens, self.temperature, STOP_STRINGS)


class HumanComparisons(_Section):
    """Where human comparisons come from: a file, or the microworld's oracle in a person's place.

    ``file`` is in the form of hh-rlhf or of TRL. ``prompts`` are answered twice by the pretrained
    model (or by it and the models of ``contrast``), and the oracle compares the answers.
    """

    file: str | None = None
    prompts: Prompts | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> HumanComparisons:
        if (self.file is None) == (self.prompts is None):
            raise refusal("human comparisons need either 'file' or 'prompts', and not both")
        return self


#: The policies that RL can make (section 4.3): RL-CAI, the same with chain-of-thought labels, and
#: the baselines with human labels for helpfulness alone or for both.
ArmName = Literal["rl_cai", "rl_cai_cot", "helpful_rlhf", "hh_rlhf"]


class RankedAnswers(PretrainingConfig):
    """Preference model pretraining: a file of ranked answers, and how to train on them."""

    file: str


#: In ``contrast``: the copies that the finetuning keeps every ``snapshot_steps`` steps.
SNAPSHOTS = "snapshots"


class Reinforcement(_Section):
    """The RL stage: comparisons, preference model, PPO. The defaults are the paper's."""

    #: Which policies to make; each has a preference model of its own.
    arms: tuple[ArmName, ...] = Field(default=("rl_cai",), min_length=1)
    #: Red-team prompts on which two answers are compared by the feedback model.
    comparisons: Prompts | None = None
    #: Who answers them besides SL-CAI: ``helpful``, ``pretrained``, ``snapshots`` (of SL-CAI on its
    #: way), model folders. The paper has SL-CAI answer twice.
    contrast: tuple[str, ...] = ()
    pairs: PairsConfig = PairsConfig()
    #: Who labels without a chain of thought; with one it is the helpful model, as in the paper.
    feedback_model: Literal["pretrained", "helpful"] = "pretrained"
    feedback: FeedbackConfig = FeedbackConfig()
    #: The labels of ``rl_cai_cot``; None for ``feedback`` with a chain of thought before it.
    cot_feedback: FeedbackConfig | None = None
    helpfulness: HumanComparisons
    #: Human comparisons for harmlessness, which HH RLHF alone is trained on.
    harmlessness: HumanComparisons | None = None
    #: The share of all comparisons that the preference model is judged on and not trained on.
    held_out: float = Field(default=0.1, gt=0, lt=1)
    #: Train a second preference model on half of the comparisons, which PPO is not optimised
    #: against and whose fall stops it; the first then sees the other half alone.
    held_out_model: bool = False
    #: A first training of every preference model on ranked answers; None for none.
    pmp: RankedAnswers | None = None
    preference: PreferenceConfig = PreferenceConfig()
    red_team: Prompts
    helpful: Prompts
    #: The paper's PPO, or another algorithm (of TRL) against the same preference model.
    algorithm: Literal["ppo", "rloo", "grpo", "dpo"] = "ppo"
    ppo: PPOConfig = PPOConfig()
    rloo: RLOOConfig = RLOOConfig()
    grpo: GRPOConfig = GRPOConfig()
    dpo: DPOConfig = DPOConfig()

    @field_validator("contrast", "arms", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("cot_feedback", mode="before")
    @classmethod
    def _with_cot(cls, value: Any) -> Any:
        return {"cot": True, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _complete(self) -> Reinforcement:
        if len(set(self.arms)) < len(self.arms):
            raise refusal(f"'arms' names one twice: {', '.join(self.arms)}", "arms")
        if self.uses_feedback and self.comparisons is None:
            raise refusal("RL-CAI needs 'comparisons': red-team prompts to compare answers on")
        if "hh_rlhf" in self.arms and self.harmlessness is None:
            raise refusal("hh_rlhf needs 'harmlessness': human comparisons", "arms")
        if "rl_cai_cot" in self.arms:
            if self.feedback.cot:
                raise refusal(
                    "'cot' makes rl_cai one with chain-of-thought labels: leave it out, or leave "
                    "rl_cai_cot out",
                    "feedback",
                )
            _ = self.labels_with_cot  # contradictions show here
        elif self.cot_feedback is not None:
            raise refusal(
                "'cot_feedback' is for the arm rl_cai_cot, which is not in arms: add it there, or "
                "leave cot_feedback out",
                "cot_feedback",
            )
        if self.cot_feedback is not None and not self.cot_feedback.cot:
            raise refusal("'cot_feedback' needs cot: leave cot out, it is on", "cot_feedback")
        return self

    @property
    def training(self) -> PPOConfig | RLOOConfig | GRPOConfig | DPOConfig:
        """The settings of the algorithm."""
        match self.algorithm:
            case "ppo":
                return self.ppo
            case "rloo":
                return self.rloo
            case "grpo":
                return self.grpo
            case "dpo":
                return self.dpo

    @property
    def uses_feedback(self) -> bool:
        """Whether any arm learns from AI labels."""
        return "rl_cai" in self.arms or "rl_cai_cot" in self.arms

    @property
    def labels_with_cot(self) -> FeedbackConfig:
        """The settings of the labels with a chain of thought."""
        if self.cot_feedback is not None:
            return self.cot_feedback
        return FeedbackConfig.model_validate({**self.feedback.model_dump(), "cot": True})


class Recipe(_Section):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    #: One constitution file, or two that are merged: one to critique and revise, one to compare.
    #: Only a recipe without critique, revision and AI feedback does without.
    constitution: tuple[str, ...] = Field(default=(), max_length=2)
    #: Files of few-shot examples, in place of those in the constitution.
    few_shots: tuple[str, ...] = ()
    models: Models
    #: The prompts of the supervised stage.
    prompts: PromptSets | None = None
    #: In place of ``prompts``: a file of conversations, on whose last turns the pretrained model
    #: is finetuned. RL from human feedback begins so, without a constitution.
    demonstrations: str | None = None
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
        return one_or_several(value)

    @model_validator(mode="after")
    def _one_supervised_stage(self) -> Recipe:
        if (self.prompts is None) == (self.demonstrations is None):
            raise refusal(
                "a recipe begins with 'prompts' (critique and revision) or with 'demonstrations', "
                "and needs one of the two"
            )
        feedback = self.rl is not None and self.rl.uses_feedback
        if self.demonstrations is not None and feedback:
            raise refusal(
                "RL-CAI begins from SL-CAI, which needs 'prompts' in place of 'demonstrations'"
            )
        if self.demonstrations is not None and self.finetune.revisions != "all":
            raise refusal(
                "'revisions' chooses among revisions, and demonstrations have none: leave it out",
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


def one_or_several(value: Any) -> Any:
    """A single name as a tuple of one, and a key without a value as none."""
    return () if value is None else (value,) if isinstance(value, str) else value


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

"""The evaluation of a recipe: what the policies are judged on, and by whom."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import SamplingParams
from constitutional.evaluation.judges import MARGIN, Goal
from constitutional.recipe.data_sets import HarmRatings, Prompts
from constitutional.recipe.section import Section


class AIJudge(Section):
    """An engine that compares the policies' answers, by the constitution and in both orders."""

    #: ``helpful``, ``pretrained``, an engine, a model folder or a name on the hub.
    model: str
    #: How far from one half the mean of two orders that disagree is still a tie.
    margin: float = Field(default=MARGIN, ge=0, le=0.5)
    #: How many of the constitution's few-shot examples stand before a question; None for all.
    few_shots: int | None = Field(default=None, ge=0)
    #: Harmlessness is judged by the constitution, helpfulness by one principle of ours.
    goals: tuple[Goal, ...] = Field(default=("harmlessness", "helpfulness"), min_length=1)


class Evaluation(Section):
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

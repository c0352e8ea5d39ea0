"""What it takes to label a run's comparisons again, known before anything is asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict

from constitutional.dialogue import prompt_ids
from constitutional.engines.base import Prompt, Style
from constitutional.engines.http.settings import OpenAISettings
from constitutional.feedback.asking import cot_prompt, plain_prompt
from constitutional.feedback.drawing import Asking
from constitutional.inputs.models import ModelReader
from constitutional.instrument.labelled import LabelledRun, Labels
from constitutional.instrument.relabelling import Asked
from constitutional.runs.records import Comparison
from constitutional.runs.usage import USAGE, Usage
from constitutional.stages.comparisons import labeller


class Cost(BaseModel):
    """Questions to ask for one stage of labels, of all that the run asked there.

    ``prompt_tokens`` are counted where the tokenizer is here, and else taken from what the run's
    server counted in that stage; ``new_tokens`` are thoughts, at the mean length of the run's.
    ``seconds`` and ``usd`` are the stage's own, by questions; they are too high rather than too
    low, for that stage wrote the answers to compare as well. None is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    comparisons: int
    of_comparisons: int
    questions: int
    of_questions: int
    #: Questions of touched comparisons that an earlier call asked, which are in none of the others.
    kept: int
    #: Requests to the engine for one question: several where it votes.
    requests_each: int
    prompt_tokens: int | None
    new_tokens: int | None
    seconds: float | None
    usd: float | None
    #: The touched comparisons in which each principle is asked newly, otherwise, or no more.
    by_principle: dict[str, int]


def cost(run: LabelledRun, labels: Labels, touched: Sequence[Asked], done: int = 0) -> Cost:
    """The cost of labelling ``touched`` again, of which the first ``done`` are labelled already."""
    missing = [asking for asked in touched[done:] for asking in asked.missing]
    there = sum(_questions(comparison, labels.config.votes) for comparison in labels.comparisons)
    share = len(missing) / there if there else 0.0
    spent = _spent(run, labels)
    votes = any(r.votes for asked in touched for r in asked.comparison.readings)
    tokens = _prompt_tokens(run, labels, missing)
    if tokens is None and spent is not None:
        tokens = round(spent.prompt_tokens * share)
    names = [name for asked in touched for name in asked.principles]
    return Cost(
        stage=labels.stage,
        comparisons=len(touched),
        of_comparisons=len(labels.comparisons),
        questions=len(missing),
        of_questions=there,
        kept=sum(len(asked.missing) for asked in touched[:done]),
        requests_each=labels.config.votes if votes else 1,
        prompt_tokens=tokens,
        new_tokens=round(len(missing) * thought) if (thought := _thought(labels)) else 0,
        seconds=labels.state.seconds * share,
        usd=None if spent is None or spent.usd is None else spent.usd * share,
        by_principle={name: names.count(name) for name in sorted(set(names))},
    )


def _questions(comparison: Comparison, votes: int) -> int:
    """The questions behind a comparison's readings."""
    voted = sum(reading.votes > 0 for reading in comparison.readings)
    return len(comparison.readings) - voted + voted // votes


def _thought(labels: Labels) -> float:
    """The mean tokens of a chain of thought in these labels, 0 without any."""
    lengths = [
        reading.reasoning.tokens
        for comparison in labels.comparisons
        for reading in comparison.readings
        if reading.reasoning is not None
    ]
    return fmean(lengths) if lengths else 0.0


def _prompt_tokens(run: LabelledRun, labels: Labels, asked: Iterable[Asking]) -> int | None:
    """Tokens of the questions; None where the tokenizer is with a server."""
    recipe, name = run.recipe, labeller(run.recipe, labels.config)
    if name in ("pretrained", "helpful"):
        name = str(getattr(recipe.models, name))
    settings = recipe.engines.get(name)
    if isinstance(settings, OpenAISettings):
        return None
    tokenizer = ModelReader(recipe, run.manifest.recipe_folder).tokenizer(name)
    style: Any = recipe.models.style if settings is None else settings.style
    if style == "auto":
        style = "chat" if getattr(tokenizer, "chat_template", None) else "transcript"
    return sum(len(prompt_ids(tokenizer, _prompt(asking, style, labels))) for asking in asked)


def _prompt(asking: Asking, style: Style, labels: Labels) -> Prompt:
    form = cot_prompt if labels.config.cot else plain_prompt
    return form(asking.question, asking.shots, style)


def _spent(run: LabelledRun, labels: Labels) -> Usage | None:
    """What the run's server was asked in the stage of these labels; None without a server."""
    path: Path = run.path / USAGE
    if not path.is_file():
        return None
    engines = json.loads(path.read_text(encoding="utf-8")).get(labels.stage, {})
    found = engines.get(labeller(run.recipe, labels.config))
    return None if found is None else Usage.model_validate(found)

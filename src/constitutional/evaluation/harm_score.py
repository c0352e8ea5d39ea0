"""The absolute harm score: ratings of whole conversations, and how well a model predicts them.

Bai et al. 2022 (arXiv 2212.08073, section 5) score harm absolutely by a language model with an L2
loss on the ratings, from 0 to 4, that red-teamers gave their own success (Ganguli et al. 2022,
arXiv 2209.07858). Higher is more harmful. It is blind to evasion, since an answer that only dodges
does no harm; so it stands beside Elo, and not in its place. The model is in
:mod:`constitutional.preference.harm_model`; here are the ratings and the figures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.transcript import opening, parse
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate, mean
from constitutional.evaluation.texts import AnswerText

MOST_HARM = 4.0
RESAMPLES = 2000
#: What a file of answers without prompts has in their place (evaluation/texts.py).
_NO_PROMPT = re.compile(r"(?:line|row) \d+")

Array = NDArray[np.float64]


class RatedConversation(BaseModel):
    """A conversation that ends in an answer, and how harmful it is, from 0 (not at all) to 4."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation: Conversation
    rating: float = Field(ge=0, le=MOST_HARM)


@dataclass
class RatedSet:
    """Rated conversations of a file, and how many rows were left out, by reason."""

    rated: list[RatedConversation] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class HarmReport(BaseModel):
    """Predicted against given ratings on ``n`` held-out conversations.

    ``baseline_error`` is the mean absolute error of always guessing ``guess``, the mean rating of
    the training conversations. ``r_squared`` is 1 - (sum of squared errors) / (sum of squares about
    the held-out mean), and may be negative; it and ``pearson`` are None where the ratings (for
    ``pearson``, also the predictions) are all the same. Intervals are from a bootstrap over
    conversations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    too_long: int
    guess: float
    mean_absolute_error: Estimate
    baseline_error: Estimate
    r_squared: Estimate | None
    pearson: Estimate | None


class HarmMean(BaseModel):
    """The mean harm score of a policy's answers: the mean over prompts of the mean over answers.

    ``mean`` has Student's t interval over ``prompts``, and is None for fewer than two of them.
    Answers that are ``too_long`` have no score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: int
    too_long: int
    prompts: int
    mean: Estimate | None


# --- ratings from files ---------------------------------------------------------------------


def read_rated(path: str | Path) -> RatedSet:
    """Rows of ``transcript`` (or ``conversation``, a text or a record of ours) and ``rating``.

    Other keys are passed over, so that red_team_attempts are read as they come. A row without a
    rating, with turns that do not alternate, or without an answer at its end is left out and
    counted. Raises InputError with file and line for a row of another form.
    """
    found = RatedSet()
    for row in read_rows(path):
        try:
            if row.problem is not None:
                raise ValueError(row.problem)
            conversation, rating = _conversation(row.value), _rating(row.value)
        except ValueError as error:
            label = f"{row.label}: " if row.label else ""
            raise InputError(f"{label}{error}", path=path, line=row.line) from None
        reason = "no rating" if rating is None else _unfit(conversation)
        if rating is None or reason:
            found.left_out[reason] += 1
        else:
            found.rated.append(RatedConversation(conversation=conversation, rating=rating))
    if not found.rated:
        raise InputError("holds no rated conversations", path=path)
    return found


def _conversation(row: Any) -> Conversation:
    value = None
    if isinstance(row, Mapping):
        value = row.get("transcript", row.get("conversation"))
    if isinstance(value, str):
        return parse(value)
    if not isinstance(value, Mapping):
        raise ValueError("expected a 'transcript' (or 'conversation') and a 'rating' from 0 to 4")
    try:
        return Conversation.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"'conversation' is no record of ours: {place}: {first['msg']}") from None


def _rating(row: Mapping[str, Any]) -> float | None:
    value = row.get("rating")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_HARM:
        raise ValueError(f"'rating' must be a number from 0 to 4, found {value!r:.40}")
    return float(value)


def _unfit(conversation: Conversation) -> str:
    roles = [turn.role for turn in conversation.turns]
    if not roles or roles[-1] != "assistant":
        return "no answer of the assistant at the end"
    if roles[0] != "human" or any(one == next_ for one, next_ in pairwise(roles)):
        return "the turns do not alternate"
    return ""


def answered(answer: AnswerText, path: str | Path | None = None) -> Conversation:
    """The whole conversation of an answer of a file: its prompt, as a transcript or plain, and it.

    Raises InputError, naming the file ``path``, for an answer whose prompt is not known.
    """
    prompt = answer.prompt
    if _NO_PROMPT.fullmatch(prompt):
        raise InputError(
            f"the answer in {prompt} has no prompt, and harm is that of a whole conversation: "
            "give rows with 'prompt' and 'response'",
            path=path,
        )
    marked = prompt.startswith(opening("human")) or prompt.startswith("Human:")
    asked = parse(prompt) if marked else Conversation.of(prompt)
    return asked.add("assistant", answer.text)


# --- figures --------------------------------------------------------------------------------


def harm_report(
    ratings: Sequence[float],
    predictions: Sequence[float],
    *,
    guess: float,
    too_long: int = 0,
    seed: int = 0,
) -> HarmReport:
    """How well ``predictions`` fit ``ratings``, one of each for a conversation.

    Raises InputError for fewer than two, which have no interval.
    """
    n = len(ratings)
    if n < 2:
        raise InputError(
            f"a harm score is measured on two held-out conversations or more, found {n}: hold "
            "more out"
        )
    given, found = np.asarray(ratings, float), np.asarray(predictions, float)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    weights = np.vstack([np.ones(n), draws]) / n

    def estimate(values: Array) -> Estimate | None:
        """Of the sample itself, which stands first, with percentiles of the resamples."""
        if not np.isfinite(values[0]):
            return None
        # a resample of one conversation alone, say, has no correlation
        low, high = np.nanpercentile(values[1:], [2.5, 97.5])
        return Estimate(value=float(values[0]), low=float(low), high=float(high), n=n)

    errors, guesses = estimate(weights @ abs(given - found)), estimate(weights @ abs(given - guess))
    assert errors is not None and guesses is not None, "a mean of numbers is a number"
    r_squared, pearson = _fit(given, found, weights)
    return HarmReport(
        n=n,
        too_long=too_long,
        guess=guess,
        mean_absolute_error=errors,
        baseline_error=guesses,
        r_squared=estimate(r_squared),
        pearson=estimate(pearson),
    )


def _fit(given: Array, found: Array, weights: Array) -> tuple[Array, Array]:
    """R squared and Pearson's r, (draws,), under ``weights`` (draws, n); NaN where undefined."""

    def variance(values: Array) -> Array:
        of = weights @ values**2 - (weights @ values) ** 2
        return np.where(of > 1e-12, of, np.nan)

    covariance = weights @ (given * found) - (weights @ given) * (weights @ found)
    r_squared = 1 - (weights @ (given - found) ** 2) / variance(given)
    return r_squared, covariance / np.sqrt(variance(given) * variance(found))


def mean_harm(scores: Sequence[float | None], prompts: Sequence[str]) -> HarmMean:
    """The mean of the scores; None is the score of an answer that is too long."""
    groups: dict[str, list[float]] = {}
    for score, prompt in zip(scores, prompts, strict=True):
        if score is not None:
            groups.setdefault(prompt, []).append(score)
    return HarmMean(
        answers=len(scores),
        too_long=sum(score is None for score in scores),
        prompts=len(groups),
        mean=mean([fmean(group) for group in groups.values()]) if len(groups) > 1 else None,
    )

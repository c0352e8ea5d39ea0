"""From what an engine answers to one probability for a pair.

Everything here is exact under an exchange of the two answers: each probability p is kept such that
1 - (1 - p) is p again, to the last bit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from constitutional.feedback.settings import FeedbackConfig
from constitutional.runs.records import Reading

# Why a verdict could not be read.
NO_CHOICE = "the answer does not begin with (A) or (B)"
BOTH = "the answer names both (A) and (B)"
REFUSED = "refused"
IMPOSSIBLE = "the engine gives neither (A) nor (B) a probability"
UNTOLD = "the server does not tell the probability of (A) and of (B)"
IMITATION = "a response imitates the form of the question"
CUT_OFF = "the reasoning was cut off"
EMPTY = "the reasoning is empty"
UNANSWERED = "the server did not answer"

_LETTER = re.compile(r"\s*\(([AB])\)(?!\w)")
_REFUSAL = re.compile(
    r"\s*(?:(?:I'm|I’m|I am) (?:sorry|unable|not able)|Sorry|As an AI"
    r"|I (?:cannot|can't|can’t|can not|won't|won’t|will not|refuse|decline)\b)",
    re.IGNORECASE,
)
#: The log-odds of a probability that a float cannot tell from 0 or 1.
_CERTAIN = 37.5


@dataclass(frozen=True)
class Verdict:
    """The probability of option (A) against (B); None when it could not be read, and why."""

    prob_first: float | None
    unreadable: str = ""


def from_logprobs(first: float, second: float) -> Verdict:
    """The two log-probabilities, normalised."""
    if math.isnan(first) or math.isnan(second):
        return Verdict(None, UNTOLD)
    if first == second == -math.inf:
        return Verdict(None, IMPOSSIBLE)
    return Verdict(sigmoid(first - second))


def from_text(text: str) -> Verdict:
    """A sampled answer, read strictly: it must begin with one letter and name no other."""
    match = _LETTER.match(text)
    if match is None:
        return Verdict(None, REFUSED if _REFUSAL.match(text) else NO_CHOICE)
    other = "(B)" if match[1] == "A" else "(A)"
    return Verdict(None, BOTH) if other in text else Verdict(float(match[1] == "A"))


def combined(readings: Sequence[Reading]) -> float | None:
    """One probability from all readings of a pair; None when none could be read.

    For each principle and order the probabilities (of several chains of thought, or votes) are
    averaged; then both orders, as log-odds: p is proportional to sqrt(p_ab * p_ba), normalised.
    Votes are 0 or 1 and have no log-odds, so their two orders are averaged as they are. Then the
    principles are averaged. What could not be read is left out; of a pair with one order unread
    the other stands alone.
    """
    return mean([p for p in (_by_one(group) for group in by_principle(readings)) if p is not None])


def by_principle(readings: Sequence[Reading]) -> list[list[Reading]]:
    """The readings by each principle, in the order of its first."""
    groups: dict[str, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(reading.principle, []).append(reading)
    return [*groups.values()]


def in_order(readings: Sequence[Reading], order: str) -> float | None:
    """The mean probability over the readings in one order that could be read."""
    found = [r.prob_a for r in readings if r.order == order and r.prob_a is not None]
    return mean(found)


def _by_one(readings: Sequence[Reading]) -> float | None:
    orders = [p for p in (in_order(readings, "ab"), in_order(readings, "ba")) if p is not None]
    if len(orders) < 2 or any(reading.votes for reading in readings):
        return mean(orders)
    return sigmoid(sum(_log_odds(p) for p in orders) / 2)


def as_label(probability: float, config: FeedbackConfig) -> float:
    """The training target: the probability within its bounds, or its side when hard."""
    if config.hard:
        return 0.5 if probability == 0.5 else float(probability > 0.5)
    if config.bounds is None:
        return probability
    high = config.bounds[1]
    larger = min(max(probability, 1 - probability), high)
    return larger if probability >= 0.5 else 1 - larger


def sigmoid(log_odds: float) -> float:
    """1 / (1 + exp(-x)), such that sigmoid(-x) is 1 - sigmoid(x) to the last bit."""
    larger = 1 / (1 + math.exp(-abs(log_odds)))
    return larger if log_odds >= 0 else 1 - larger


def mean(probabilities: Sequence[float]) -> float | None:
    """The mean, such that the mean of 1 - p is 1 - the mean; None of nothing."""
    if not probabilities:
        return None
    n = len(probabilities)
    ones, zeros = math.fsum(probabilities), math.fsum(1 - p for p in probabilities)
    return ones / n if ones >= zeros else 1 - zeros / n


def _log_odds(probability: float) -> float:
    if probability in (0, 1):
        return _CERTAIN if probability else -_CERTAIN
    return math.log(probability) - math.log(1 - probability)

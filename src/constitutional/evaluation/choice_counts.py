"""What a model got right of multiple-choice questions, with intervals over conversations.

Rows are not independent: rankings of several responses to one conversation were written out as
pairs (438 rows are 188 conversations). So intervals resample conversations with all their rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.choice_rows import ChoiceRow, contaminated
from constitutional.evaluation.intervals import Estimate, proportion

RESAMPLES = 2000


class ChoiceMetrics(BaseModel):
    """What a model got right. ``n`` of an estimate is the number of conversations.

    ``unreadable`` rows, whose choices the model could not weigh, are in no share; baselines are of
    the rows that could be weighed. ``position_decided``: the same letter in both orders.
    ``clean`` and ``contaminated`` split the rows by whether their conversation is in the few-shot
    examples; they are None where no examples were given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    conversations: int
    unreadable: int
    accuracy: Estimate | None
    prob_correct: Estimate | None
    as_given: Estimate | None = None
    swapped: Estimate | None = None
    position_decided: Estimate | None = None
    clean: Estimate | None = None
    contaminated: Estimate | None = None
    contaminated_rows: tuple[int, ...] = ()
    always_a: Estimate | None
    longer_answer: Estimate | None
    model: str
    cot: bool
    both_orders: bool


def count_choices(
    rows: Sequence[ChoiceRow],
    scored: Sequence[Sequence[tuple[float, ...] | None]],
    model: str,
    *,
    cot: bool,
    examples: Sequence[str] = (),
) -> ChoiceMetrics:
    """Count; ``scored`` has for each row the log-probabilities of its choices in each order.

    A row that lacks an order is unreadable. ``examples`` decide which rows are contaminated.
    """
    kept = [
        (row, each)
        for row, each in zip(rows, scored, strict=True)
        if all(scores is not None for scores in each)
    ]
    right, probability, by_order, same_letter = [], [], [], []
    for row, each in kept:
        orders = [scores for scores in each if scores is not None]
        # In the second order the answers have changed places, so its scores are turned back.
        aligned = [orders[0], *(scores[::-1] for scores in orders[1:])]
        total = [sum(column) / len(aligned) for column in zip(*aligned, strict=True)]
        right.append(_hit(total, row.correct))
        probability.append(_normalised(total)[row.correct])
        by_order.append([_hit(scores, row.correct) for scores in aligned])
        same_letter.append(float(len({_best(scores) for scores in orders}) == 1))
    conversations = [row.conversation for row, _ in kept]

    def share(values: Sequence[float], where: Sequence[bool] | None = None) -> Estimate | None:
        chosen = [True] * len(values) if where is None else where
        return share_by_conversation(
            [v for v, take in zip(values, chosen, strict=True) if take],
            [c for c, take in zip(conversations, chosen, strict=True) if take],
        )

    shown = contaminated(rows, examples)
    inside = [row.number in set(shown) for row, _ in kept]
    two = bool(scored) and len(scored[0]) == 2
    has_options = bool(kept) and all(row.options for row, _ in kept)
    return ChoiceMetrics(
        rows=len(rows),
        conversations=len({row.conversation for row in rows}),
        unreadable=len(rows) - len(kept),
        accuracy=share(right),
        prob_correct=share(probability),
        as_given=share([hits[0] for hits in by_order]) if two else None,
        swapped=share([hits[1] for hits in by_order]) if two else None,
        position_decided=share(same_letter) if two else None,
        clean=share(right, [not each for each in inside]) if examples else None,
        contaminated=share(right, inside) if examples else None,
        contaminated_rows=shown,
        always_a=share([float(row.correct == 0) for row, _ in kept]),
        longer_answer=share([_longer_is_right(row) for row, _ in kept]) if has_options else None,
        model=model,
        cot=cot,
        both_orders=two,
    )


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda i: scores[i])


def _hit(scores: Sequence[float], correct: int) -> float:
    """1 where the right answer is the likeliest; a share where it ties with others."""
    best = max(scores)
    return (scores[correct] == best) / sum(score == best for score in scores)


def _normalised(scores: Sequence[float]) -> list[float]:
    best = max(scores)
    if best == -math.inf:  # each answer is impossible in one of the orders
        return [1 / len(scores)] * len(scores)
    odds = [math.exp(score - best) for score in scores]
    return [odd / sum(odds) for odd in odds]


def _longer_is_right(row: ChoiceRow) -> float:
    return _hit([float(len(option)) for option in row.options], row.correct)


def share_by_conversation(
    values: Sequence[float], conversations: Sequence[str], *, seed: int = 0
) -> Estimate | None:
    """The mean over rows with a percentile interval over resampled conversations; None for no rows.

    Where every row has the same value 0 or 1 a bootstrap has no width, and Wilson's interval for
    the conversations stands in its place.
    """
    if not values:
        return None
    groups: dict[str, list[float]] = {}
    for value, conversation in zip(values, conversations, strict=True):
        groups.setdefault(conversation, []).append(value)
    n, value = len(groups), math.fsum(values) / len(values)
    if set(values) in ({0.0}, {1.0}):
        return proportion(int(value) * n, n)
    sums = np.array([math.fsum(group) for group in groups.values()])
    sizes = np.array([float(len(group)) for group in groups.values()])
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    low, high = np.percentile((draws @ sums) / (draws @ sizes), [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high), n=n)

"""What a reward is to the RL stage, and two preference models as one.

The paper has one preference model for both goals. Llama 2 (Touvron et al. 2023, arXiv:2307.09288,
section 3.4.1) has one for safety and one for helpfulness, and combines them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean, pstdev
from typing import NamedTuple, Protocol

from constitutional.dialogue.conversation import Conversation
from constitutional.errors import InputError, ModelError


class Item(Protocol):
    """A response to be scored: any object with these three will do."""

    @property
    def conversation(self) -> Conversation:
        """The turns before the response, of which the last is a human's."""
        ...

    @property
    def response(self) -> str:
        """The response."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the prompt."""
        ...


class Response(NamedTuple):
    """The simplest :class:`Item`."""

    conversation: Conversation
    response: str
    tags: tuple[str, ...] = ()


class Scorer(Protocol):
    """Scores of responses, higher is better; what stands beside a response changes nothing."""

    def scores(self, items: Sequence[Item]) -> list[float]:
        """One score for each, in order."""
        ...


class CentredScorer(Scorer, Protocol):
    """A scorer that knows its mean on a held-out set: a :class:`PreferenceModel`."""

    @property
    def mean(self) -> float:
        """The mean of the raw scores on that set."""
        ...


@dataclass(frozen=True)
class CombinedScorer:
    """The safety score where it is low or the prompt is risky, else the helpfulness score.

    With s the logistic function and each raw score r taken against its model's stored mean m:
    safety counts where a tag of the prompt is in ``risky`` or s(r_s - m_s) < ``threshold``. Llama 2
    then takes the logit and whitens; s and logit cancel, so that r - m of the chosen model remains.
    It is whitened by ``mean`` and ``deviation`` of such scores on a fixed set, and not by those of
    each batch: a score must not depend on what stands beside it.
    """

    safety: CentredScorer
    helpfulness: CentredScorer
    threshold: float = 0.15
    risky: Collection[str] = ()
    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InputError(f"the safety threshold must lie in [0, 1], got {self.threshold}")
        if not self.deviation > 0:
            raise ModelError(
                f"combined scores cannot be divided by a deviation of {self.deviation}: the "
                "held-out responses all have the same score"
            )

    def scores(self, items: Sequence[Item]) -> list[float]:
        """One whitened score for each, in order."""
        return [(score - self.mean) / self.deviation for score in self._chosen(items)]

    def whitened(self, held_out: Sequence[Item]) -> CombinedScorer:
        """The same with the mean and the deviation of its scores on ``held_out``."""
        if len(held_out) < 2:
            raise InputError(f"whitening needs two responses or more, got {len(held_out)}")
        found = self._chosen(held_out)
        return CombinedScorer(
            self.safety, self.helpfulness, self.threshold, self.risky, fmean(found), pstdev(found)
        )

    def _chosen(self, items: Sequence[Item]) -> list[float]:
        """For each the centred score that counts."""
        safe = [raw - self.safety.mean for raw in self.safety.scores(items)]
        helpful = [raw - self.helpfulness.mean for raw in self.helpfulness.scores(items)]
        return [
            s if logistic(s) < self.threshold or not set(self.risky).isdisjoint(item.tags) else h
            for item, s, h in zip(items, safe, helpful, strict=True)
        ]


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))

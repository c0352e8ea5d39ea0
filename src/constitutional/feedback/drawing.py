"""What a pair is asked: the principles, orders and examples that are drawn for it.

Every draw depends on the run seed and the pair's id alone, given the constitution and the settings;
no engine is needed to know it. So it can be told beforehand which questions another constitution
would ask that this one did not (:mod:`constitutional.instrument.relabelling`).
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from constitutional.constitution import Constitution, Principle
from constitutional.errors import InputError
from constitutional.feedback.asking import Shot, cot_shot, plain_shot
from constitutional.feedback.pairs import Pair
from constitutional.feedback.question import Question
from constitutional.feedback.settings import FeedbackConfig
from constitutional.feedback.verdicts import Verdict
from constitutional.runs.records import Reading, Sample
from constitutional.runs.seeds import derive_seed

Order = Literal["ab", "ba"]


@dataclass(frozen=True)
class Asking:
    """One question to the engine. ``number`` tells the principles of a pair apart."""

    pair: Pair
    number: int
    principle: Principle
    order: Order
    shots: tuple[Shot, ...]
    sample: int = 0
    reasoning: Sample | None = None

    @property
    def question(self) -> Question:
        """What is asked, with the answers in the order in which they are shown."""
        a, b = (self.pair.a, self.pair.b) if self.order == "ab" else (self.pair.b, self.pair.a)
        return Question(self.pair.prompt, self.principle.comparison, a, b)

    def seed(self, run_seed: int, draw: str, *more: int) -> int:
        """The seed of a draw of the engine."""
        # Without the order: an exchange of the answers then exchanges the readings, and no more.
        return derive_seed(run_seed, draw, self.pair.id, self.number, self.sample, *more)

    def decided_by(self, *, sampled: bool) -> Hashable:
        """All that its readings depend on, besides the engine and the run seed.

        Two askings of a pair that agree in it have the same readings. Where something is
        ``sampled`` (thoughts, votes) the seed is a part of it, and so which of the pair's
        principles it is; the id of the principle never is.
        """
        drawn = (self.number, self.sample) if sampled else ()
        return (self.question, self.shots, self.order, drawn)

    def reading(self, verdict: Verdict, votes: int = 0) -> Reading:
        """The verdict as it is written down."""
        first = verdict.prob_first
        return Reading(
            principle=self.principle.id,
            order=self.order,
            prob_a=first if first is None or self.order == "ab" else 1 - first,
            unreadable=verdict.unreadable,
            reasoning=self.reasoning,
            votes=votes,
        )

    def again(self, reading: Reading) -> Reading:
        """A reading that another asking, decided by the same, had; under this principle's id."""
        return reading.model_copy(update={"principle": self.principle.id})


class Drawing:
    """What one constitution, one setting and one run seed ask of a pair."""

    def __init__(self, constitution: Constitution, config: FeedbackConfig, seed: int):
        self._constitution = constitution
        self._config = config
        self._seed = seed

    def askings(self, pair: Pair) -> list[Asking]:
        """The questions of a pair in the order of its readings; none where it is not usable."""
        if not pair.usable:
            return []
        if not pair.prompt.turns or pair.prompt.last.role != "human":
            raise InputError(f"the prompt of pair {pair.id!r} must end in a human turn")
        principles = self.principles_for(pair.id)
        shots = [self._shots(pair.id, number) for number in range(len(principles))]
        return [
            Asking(pair, number, principle, order, shots[number], sample)
            for number, principle in enumerate(principles)
            for order in self.orders_for(pair.id)
            for sample in range(self._config.cot_samples)
        ]

    def principles_for(self, pair_id: str) -> tuple[Principle, ...]:
        """The principles that a pair is compared by: different ones, drawn by weight.

        All of them, where the constitution has fewer than are asked for.
        """
        rng = random.Random(derive_seed(self._seed, "feedback principle", pair_id))
        rest = list(self._constitution.comparing)
        drawn = []
        for _ in range(min(self._config.principles_per_pair, len(rest))):
            drawn.append(rng.choices(rest, weights=[p.weight for p in rest])[0])
            rest.remove(drawn[-1])
        return tuple(drawn)

    def orders_for(self, pair_id: str) -> tuple[Order, ...]:
        """The orders in which a pair is shown."""
        if self._config.orders == "both":
            return ("ab", "ba")
        rng = random.Random(derive_seed(self._seed, "feedback order", pair_id))
        return (rng.choice(("ab", "ba")),)

    def _shots(self, pair_id: str, number: int) -> tuple[Shot, ...]:
        examples, limit = self._constitution.few_shots, self._config.few_shots
        asked = random.Random(derive_seed(self._seed, "feedback few-shots", pair_id, number))
        drawing = asked.randrange(self._config.few_shot_draws)

        def drawn(place: int) -> tuple[str, random.Random]:
            rng = random.Random(derive_seed(self._seed, "feedback few-shot", drawing, place))
            return self._constitution.draw_comparison_principle(rng).comparison, rng

        if self._config.cot:
            return tuple(cot_shot(x, drawn(i)[0]) for i, x in enumerate(examples.cot[:limit]))
        return tuple(plain_shot(x, *drawn(i)) for i, x in enumerate(examples.comparison[:limit]))


def dealt_out(
    askings: Sequence[Asking], readings: Sequence[Reading], votes: int
) -> list[list[Reading]]:
    """The stored readings of a pair by its askings: one each, or ``votes`` where it was voted.

    Raises ValueError where the readings are not those of these askings.
    """
    rest, dealt = list(readings), []
    for asking in askings:
        count = votes if rest and rest[0].votes else 1
        mine, rest = rest[:count], rest[count:]
        told = {(r.principle, r.order) for r in mine}
        if len(mine) < count or told != {(asking.principle.id, asking.order)}:
            raise ValueError(f"pair {asking.pair.id!r} has no readings of all that it was asked")
        dealt.append(mine)
    if rest:
        raise ValueError(f"pair {askings[0].pair.id!r} has readings of what it was not asked")
    return dealt

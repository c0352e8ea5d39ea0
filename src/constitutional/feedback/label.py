"""AI feedback: which of two answers is better by a principle (Bai et al. 2022, section 4.1).

For each pair a principle is drawn, the engine is asked the multiple-choice question, and the label
is the probability of " (A)" against " (B)", normalised. With a chain of thought the engine reasons
first (T = 1) and the label is clamped. Every draw depends on the run seed and the pair's id alone.

Choices that the paper leaves open:

- The order in which the two answers are shown is drawn by seed, or both are asked and averaged.
- Few-shot examples keep the order of their file; each draws a principle and (without reasoning) the
  order of its answers. There are a few such drawings (``few_shot_draws``), and each question gets
  one of them, so that what questions share is read once. Both orders of a pair see the same one.
- A chain of thought that is empty or was cut off reaches no verdict, and counts as unreadable.
- Several principles for a pair are different ones, drawn by weight; their probabilities are
  averaged.
- An engine without log-probs is asked for votes; each vote is a reading of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from constitutional.constitution import Constitution
from constitutional.dialogue import Conversation, prompt_id
from constitutional.engines.base import Engine, Prompt, SamplingParams, remembering
from constitutional.engines.draw import draw
from constitutional.errors import EngineError, InputError
from constitutional.feedback import verdicts
from constitutional.feedback.asking import (
    cot_prompt,
    plain_prompt,
    reasoning_stops,
)
from constitutional.feedback.drawing import Asking, Drawing
from constitutional.feedback.pairs import Pair
from constitutional.feedback.question import CHOICES, check_principle, imitation
from constitutional.feedback.settings import FeedbackConfig
from constitutional.feedback.verdicts import Verdict, as_label, combined
from constitutional.runs.records import Comparison, Reading, Sample

Goal = Literal["harmlessness", "helpfulness"]
#: Readings that are there already, by what decides them (:meth:`Asking.decided_by`).
Known = Mapping[Hashable, Sequence[Reading]]

#: Room for a letter in parentheses, however a tokenizer cuts it.
_VOTE = SamplingParams(max_new_tokens=8)


class FeedbackModel:
    """Labels pairs with one engine, one constitution and one run seed."""

    def __init__(
        self,
        engine: Engine,
        constitution: Constitution,
        config: FeedbackConfig | None = None,
        seed: int = 0,
    ):
        self._engine = engine
        self._constitution = constitution
        self._config = config or FeedbackConfig()
        self._seed = seed
        self.drawing = Drawing(constitution, self._config, seed)
        self._check()

    @property
    def sampled(self) -> bool:
        """Whether readings depend on a seed: there are thoughts, or votes."""
        return self._config.cot or not self._engine.capabilities.logprobs

    def label(
        self,
        pairs: Sequence[Pair],
        goal: Goal = "harmlessness",
        known: Sequence[Known] | None = None,
    ) -> list[Comparison]:
        """One comparison for each pair, in order; all questions go to the engine together.

        A pair that is not usable is not asked about: its comparison has no readings and no label.
        Nor is a question whose readings are ``known``, which are then those of the comparison;
        ``known`` has an entry for each pair.
        """
        askings = [self.drawing.askings(pair) for pair in pairs]
        places = [
            (asking, there.get(asking.decided_by(sampled=self.sampled)))
            for of_pair, there in zip(askings, known or [{}] * len(pairs), strict=True)
            for asking in of_pair
        ]
        with remembering(self._engine):
            fresh = iter(self._read([asking for asking, there in places if there is None]))
        read = (
            next(fresh) if there is None else [asking.again(reading) for reading in there]
            for asking, there in places
        )
        return [
            self._comparison(pair, [r for _ in of_pair for r in next(read)], goal)
            for pair, of_pair in zip(pairs, askings, strict=True)
        ]

    def compare(self, conversation: str | Conversation, a: str, b: str) -> tuple[float, float]:
        """The probabilities that ``a`` and that ``b`` is the better answer; they sum to 1.

        Raises EngineError when the engine's verdict cannot be read.
        """
        spoken = Conversation.of(conversation) if isinstance(conversation, str) else conversation
        comparison = self.label([Pair(_pair_id(spoken, a, b), spoken, a, b)])[0]
        if comparison.prob_a is None:
            why = sorted({reading.unreadable for reading in comparison.readings})
            raise EngineError(f"{self._engine.name} gave no readable verdict: {'; '.join(why)}")
        return comparison.prob_a, 1 - comparison.prob_a

    def _read(self, askings: Sequence[Asking]) -> list[list[Reading]]:
        """The readings of each question, in order; what cannot be asked is unreadable."""
        # first, for an engine may find out here that it lacks them, before anything is reasoned
        weigh = self._weigh if self._engine.capabilities.logprobs else self._vote
        hostile = [_imitates(asking.pair) for asking in askings]
        if self._config.cot:
            sane = [x for x, bad in zip(askings, hostile, strict=True) if not bad]
            reasoned = iter(self._reason(sane) if sane else ())
            askings = [
                x if bad else next(reasoned) for x, bad in zip(askings, hostile, strict=True)
            ]
        faults = [
            verdicts.IMITATION if bad else _fault(asking.reasoning)
            for asking, bad in zip(askings, hostile, strict=True)
        ]
        askable = [x for x, fault in zip(askings, faults, strict=True) if not fault]
        weighed = iter(weigh(askable) if askable else ())
        return [
            [asking.reading(Verdict(None, fault))] if fault else next(weighed)
            for asking, fault in zip(askings, faults, strict=True)
        ]

    def _reason(self, askings: Sequence[Asking]) -> list[Asking]:
        style = self._engine.style
        samples = draw(
            self._engine,
            [cot_prompt(x.question, x.shots, style) for x in askings],
            self._config.reasoning(reasoning_stops(style)),
            [x.seed(self._seed, "feedback reasoning") for x in askings],
        )
        return [replace(x, reasoning=s) for x, s in zip(askings, samples, strict=True)]

    def _weigh(self, askings: Sequence[Asking]) -> list[list[Reading]]:
        scores = self._engine.choice_logprobs([self._prompt(x) for x in askings], CHOICES)
        return [
            [asking.reading(verdicts.from_logprobs(*pair))]
            for asking, pair in zip(askings, scores, strict=True)
        ]

    def _vote(self, askings: Sequence[Asking]) -> list[list[Reading]]:
        votes = range(self._config.votes)
        completions = self._engine.sample(
            [self._prompt(x) for x in askings for _ in votes],
            _VOTE,
            [x.seed(self._seed, "feedback vote", vote) for x in askings for vote in votes],
        )
        voted = iter(
            Verdict(None, verdicts.UNANSWERED)
            if completion.ended == "failed"
            else verdicts.from_text(completion.text)
            for completion in completions
        )
        return [[asking.reading(next(voted), votes=1) for _ in votes] for asking in askings]

    def _prompt(self, asking: Asking) -> Prompt:
        style = self._engine.style
        if asking.reasoning is None:
            return plain_prompt(asking.question, asking.shots, style)
        return cot_prompt(asking.question, asking.shots, style, asking.reasoning.text)

    def _comparison(self, pair: Pair, readings: Sequence[Reading], goal: Goal) -> Comparison:
        probability = combined(readings)
        return Comparison(
            id=pair.id,
            prompt=pair.prompt,
            a=pair.a,
            b=pair.b,
            tags=pair.tags,
            goal=goal,
            labeller=self._engine.name,
            prob_a=None if probability is None else as_label(probability, self._config),
            readings=tuple(readings),
        )

    def _check(self) -> None:
        constitution, config = self._constitution, self._config
        if not constitution.comparing:
            raise InputError(
                f"constitution {constitution.name!r} has no principle that can compare"
            )
        for principle in constitution.comparing:
            check_principle(principle.comparison)
        shots = constitution.few_shots
        kind, examples = (
            ("cot", len(shots.cot)) if config.cot else ("comparison", len(shots.comparison))
        )
        if config.few_shots is not None and config.few_shots > examples:
            raise InputError(
                f"few_shots is {config.few_shots}, but constitution {constitution.name!r} has "
                f"{examples} {kind} examples"
            )


def _imitates(pair: Pair) -> bool:
    turns = [turn.text for turn in pair.prompt.turns]
    return imitation(pair.a, pair.b, *turns) is not None


def _fault(reasoning: Sample | None) -> str:
    """Why a chain of thought reaches no verdict, "" if it does."""
    if reasoning is None:
        return ""
    if "failed" in reasoning.flags:
        return verdicts.UNANSWERED
    if "empty" in reasoning.flags:
        return verdicts.EMPTY
    return verdicts.CUT_OFF if "cut_off" in reasoning.flags else ""


def _pair_id(conversation: Conversation, a: str, b: str) -> str:
    """The same for (a, b) and (b, a)."""
    answers = hashlib.sha256("\0".join(sorted((a, b))).encode("utf-8", "backslashreplace"))
    return f"{prompt_id(conversation)}-{answers.hexdigest()[:16]}"

"""Pairs of answers to compare, and whether they tell anything.

The paper has SL-CAI answer every red-team prompt twice at T = 1. A consistent SL-CAI then gives two
answers of one kind, which say nothing of harm; contrasts (two policies, several snapshots, several
temperatures) give pairs that differ. :func:`contrast` counts them and warns when few do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.dialogue import STOP_STRINGS, Conversation, PromptRecord, prompt_for
from constitutional.engines.base import Engine, SamplingParams
from constitutional.engines.draw import draw
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.evaluation.verdicts import Verdict
from constitutional.feedback.settings import PairsConfig
from constitutional.runs.records import Sample
from constitutional.runs.seeds import derive_seed

#: Below this share of pairs that differ, the run is warned.
FEW = 0.20


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt. ``unusable`` says what is wrong with the shape of one, "" if all is
    well; ``authors`` who wrote a and b, where that is known.
    """

    id: str
    prompt: Conversation
    a: str
    b: str
    tags: tuple[str, ...] = ()
    unusable: str = ""
    authors: tuple[str, str] = ("", "")

    @property
    def usable(self) -> bool:
        """Whether it can be asked about."""
        return not self.unusable


@dataclass(frozen=True)
class _Author:
    engine: Engine
    temperature: float

    @property
    def name(self) -> str:
        return f"{self.engine.name} at T={self.temperature:g}"


def sample_pairs(
    prompts: Sequence[PromptRecord],
    policies: Sequence[Engine],
    config: PairsConfig | None = None,
    seed: int = 0,
) -> list[Pair]:
    """A pair of answers to each prompt, in order.

    Each policy at each temperature is an author. One author answers every prompt twice; of several
    two different ones answer each prompt, drawn by seed, and which of them is a is drawn with them.
    A pair with an answer of broken shape is kept and marked.
    """
    config = config or PairsConfig()
    if not policies:
        raise InputError("pairs need at least one policy that answers")
    authors = [_Author(engine, t) for engine in policies for t in config.temperatures]
    chosen = [_two_of(authors, derive_seed(seed, "pair authors", p.id)) for p in prompts]
    answers: dict[tuple[int, int], Sample] = {}
    for number, author in enumerate(authors):
        mine = [
            (row, side) for row, two in enumerate(chosen) for side in (0, 1) if two[side] == number
        ]
        if not mine:
            continue
        samples = draw(
            author.engine,
            [
                prompt_for(prompts[row].conversation, "assistant", author.engine.style)
                for row, _ in mine
            ],
            SamplingParams(config.max_new_tokens, author.temperature, STOP_STRINGS),
            [derive_seed(seed, "pair answer", prompts[row].id, "ab"[side]) for row, side in mine],
        )
        answers.update(zip(mine, samples, strict=True))
    return [
        _pair(prompt, answers[row, 0], answers[row, 1], (authors[i].name, authors[j].name))
        for row, (prompt, (i, j)) in enumerate(zip(prompts, chosen, strict=True))
    ]


def _two_of(authors: Sequence[_Author], seed: int) -> tuple[int, int]:
    if len(authors) == 1:
        return 0, 0
    first, second = random.Random(seed).sample(range(len(authors)), 2)
    return first, second


def _pair(prompt: PromptRecord, a: Sample, b: Sample, authors: tuple[str, str]) -> Pair:
    faults = [f"{side}: {', '.join(s.flags)}" for side, s in (("a", a), ("b", b)) if s.flags]
    return Pair(
        id=prompt.id,
        prompt=prompt.conversation,
        a=a.text,
        b=b.text,
        tags=prompt.tags,
        unusable="; ".join(faults),
        authors=authors,
    )


class Contrast(BaseModel):
    """How many pairs differ in kind (``by`` behaviour), or, without a judge, merely in text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int
    unusable: int
    by: Literal["behaviour", "text"]
    #: Share of the usable pairs; None when there are none.
    differ: Estimate | None
    #: A sentence when fewer than 20% differ (or none is usable), else "".
    warning: str


def contrast(
    pairs: Iterable[Pair], judge: Callable[[Conversation, str], Verdict] | None = None
) -> Contrast:
    """Whether the usable pairs differ: in the judged behaviour, or in text but for blanks."""

    def kind(pair: Pair, answer: str) -> str:
        if judge is None:
            return " ".join(answer.split())
        return judge(pair.prompt, answer).behaviour

    count = usable = different = 0
    for pair in pairs:
        count += 1
        if pair.usable:
            usable += 1
            different += kind(pair, pair.a) != kind(pair, pair.b)
    by: Literal["behaviour", "text"] = "text" if judge is None else "behaviour"
    return Contrast(
        pairs=count,
        unusable=count - usable,
        by=by,
        differ=proportion(different, usable),
        warning=_warning(different, usable, by),
    )


def _warning(different: int, usable: int, by: str) -> str:
    if not usable:
        return "no pair can be compared: every one has an answer of broken shape"
    if different >= FEW * usable:
        return ""
    return (
        f"only {different} of {usable} pairs differ in {by}, less than {FEW:.0%}: the preference "
        "model will learn little from them; contrast two policies, snapshots or temperatures"
    )

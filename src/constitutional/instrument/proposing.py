"""Candidate principles from a model that is asked why one answer was preferred.

The question is put for each comparison, after Findeis et al. 2024 (arXiv 2406.06560, "generate").
A departure: there a model sees the better answer marked by position; here the better one is named
in words, in an order drawn by seed. What the model writes is data: a line is a candidate where it
can stand in the multiple-choice question, and else is counted.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from constitutional.constitution import Constitution, Principle
from constitutional.dialogue.quoting import QUESTION, quoted
from constitutional.dialogue.transcript import STOP_STRINGS, render
from constitutional.engines.base import (
    ChatPrompt,
    Engine,
    Message,
    Prompt,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.engines.draw import draw
from constitutional.errors import InputError
from constitutional.feedback.question import check_principle
from constitutional.instrument.alike import plain_words
from constitutional.runs import Progress, RunFolder, one_by_one
from constitutional.runs.records import Comparison, Sample
from constitutional.runs.seeds import derive_seed

#: Candidates that are asked for in one answer, and the longest one in characters.
EACH, LONGEST = 3, 300
_LEAD = "1."
_ASK = (
    "A person compared two responses of an AI assistant and preferred one of them.\n\n"
    "The conversation:{conversation}\n\n"
    "The {first} response: [[[{one}]]]\n"
    "The {second} response: [[[{two}]]]\n\n"
    "Which general principles may have led to this choice? Write {each} of them as a numbered "
    "list, one a line, each a short rule that applies to other conversations too."
)
_ITEM = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s*(\S.*?)\s*$")


class Proposal(BaseModel):
    """What the generator answered for one comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    sample: Sample


class Proposed(NamedTuple):
    """Candidate principles, and how many lines were left out, by reason."""

    principles: tuple[Principle, ...]
    left_out: dict[str, int]


def propose(
    run: RunFolder,
    generator: Engine,
    comparisons: Sequence[Comparison],
    *,
    seed: int,
    block: int,
    progress: Progress,
) -> Proposed:
    """Ask ``generator`` about each comparison that has a better answer, and read the candidates."""
    sided = [comparison for comparison in comparisons if comparison.prob_a != 0.5]

    def ask(part: Sequence[Comparison]) -> list[Proposal]:
        samples = draw(
            generator,
            [question(comparison, generator.style, seed) for comparison in part],
            SamplingParams(max_new_tokens=200, stop=STOP_STRINGS),
            [derive_seed(seed, "candidate principles", comparison.id) for comparison in part],
        )
        return [
            Proposal(id=c.id, sample=_whole(s, generator.style))
            for c, s in zip(part, samples, strict=True)
        ]

    kept = run.stage_records(
        "candidates",
        inputs={"generator": generator.fingerprint, "seed": str(seed)},
        record_type=Proposal,
        items=sided,
        block_size=block,
        make=one_by_one(ask),
        progress=progress,
        title="asking for candidate principles",
    )
    return read_proposals(kept)


def question(comparison: Comparison, style: Style, seed: int) -> Prompt:
    """The prompt that asks why the better answer of a comparison was preferred."""
    if comparison.prob_a is None or comparison.prob_a == 0.5:
        raise ValueError(f"comparison {comparison.id} has no better answer")
    better, worse = (
        (comparison.a, comparison.b) if comparison.prob_a > 0.5 else (comparison.b, comparison.a)
    )
    shown = [("preferred", better), ("rejected", worse)]
    random.Random(derive_seed(seed, "order of a proposal", comparison.id)).shuffle(shown)
    (first, one), (second, two) = shown
    asked = _ASK.format(
        conversation=render(comparison.prompt, form=QUESTION),
        first=first,
        second=second,
        one=quoted(one, QUESTION),
        two=quoted(two, QUESTION),
        each=EACH,
    )
    if style == "chat":
        return ChatPrompt((Message("user", asked),))
    return TextPrompt(f"\n\nHuman: {asked}\n\nAssistant: {_LEAD}")


def read_proposals(proposals: Iterable[Proposal]) -> Proposed:
    """The candidates in order, each wording once; counted is what is none."""
    left_out: Counter[str] = Counter()
    found: dict[str, str] = {}
    for proposal in proposals:
        if proposal.sample.ended == "failed":
            left_out["no answer"] += 1
            continue
        lines = [line for line in proposal.sample.text.splitlines() if line.strip()]
        items = [_ITEM.match(line) for line in lines]
        # a text that was cut off ends in half a rule
        if proposal.sample.ended == "length" and items and items[-1]:
            left_out["cut off"] += 1
            items.pop()
        for item in items:
            if item is None:
                left_out["no item of the list"] += 1
            elif fault := _fault(item[1]):
                left_out[fault] += 1
            elif plain_words(item[1]) in found:
                left_out["the same words again"] += 1
            else:
                found[plain_words(item[1])] = item[1]
    principles = tuple(
        Principle(id=f"candidate-{number}", text=text, source="generated")
        for number, text in enumerate(found.values(), start=1)
    )
    return Proposed(principles, dict(left_out))


def given(constitution: Constitution) -> Proposed:
    """The comparing principles of a file as candidates, each wording of the question once."""
    left_out: Counter[str] = Counter()
    found: dict[str, Principle] = {}
    for principle in constitution.comparing:
        words = plain_words(principle.comparison)
        if words in found:
            left_out["the same words again"] += 1
        else:
            found[words] = principle
    return Proposed(tuple(found.values()), dict(left_out))


def _whole(sample: Sample, style: Style) -> Sample:
    """With the first number, which a transcript's prompt holds already."""
    if style == "chat" or "failed" in sample.flags:
        return sample
    return sample.model_copy(update={"text": f"{_LEAD} {sample.text}"})


def _fault(text: str) -> str:
    """Why a line is no candidate; "" where it is one."""
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    if not plain_words(text):
        return "no words"
    if not text.isprintable():
        return "characters that cannot be printed"
    try:
        check_principle(Principle(id="candidate", text=text).comparison)
    except InputError:
        return "does not fit into the multiple-choice question"
    return ""

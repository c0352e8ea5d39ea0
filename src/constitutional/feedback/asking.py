"""From a question to what an engine is sent: few-shot examples, and the two prompt styles.

In a transcript the examples stand before the question as in the paper. In a chat each example is an
earlier user message with its answer, the question is the last user message, and the assistant's
turn already holds the lead-in ("The answer is:") that the model continues. A chat model cannot
write a human turn, so there the verdict of a chain of thought ends the assistant's own turn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from constitutional.constitution.few_shots import ComparisonExample, CotExample
from constitutional.dialogue.quoting import REASONING, quoted
from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import ChatPrompt, Message, Prompt, Style, TextPrompt
from constitutional.feedback.question import (
    ANSWER,
    COT_ANSWER,
    COT_LEAD,
    Letter,
    Question,
    cot_request,
    plain_request,
    render_cot,
    render_question,
    slot,
)


@dataclass(frozen=True)
class Shot:
    """A few-shot example as it is shown. ``reasoning`` and ``verbatim`` only with reasoning."""

    question: Question
    answer: Letter
    reasoning: str = ""
    verbatim: str | None = None


def plain_shot(example: ComparisonExample, principle_text: str, rng: random.Random) -> Shot:
    """A comparison example in a drawn order of its answers."""
    answer: Letter = rng.choice(("A", "B"))
    pair = (example.better, example.worse)
    a, b = pair if answer == "A" else pair[::-1]
    return Shot(Question(example.conversation, principle_text, a, b), answer)


def cot_shot(example: CotExample, principle_text: str) -> Shot:
    """An example with reasoning, which speaks of (A) and (B) and so has its order."""
    question = Question(
        example.conversation, principle_text, example.response_a, example.response_b
    )
    verbatim = example.verbatim and example.verbatim.replace("{}", slot(principle_text))
    return Shot(question, example.answer, example.reasoning, verbatim)


def plain_prompt(question: Question, shots: Sequence[Shot], style: Style) -> Prompt:
    """The prompt after which " (A)" and " (B)" are compared."""
    if style == "transcript":
        prefix = "".join(f"{render_question(s.question)} ({s.answer})" for s in shots)
        return TextPrompt(prefix + render_question(question))
    earlier = [(plain_request(s.question), f"{ANSWER} ({s.answer})") for s in shots]
    return _chat(earlier, plain_request(question), ANSWER)


def cot_prompt(
    question: Question, shots: Sequence[Shot], style: Style, reasoning: str | None = None
) -> Prompt:
    """The prompt after which the reasoning is written, or with it the one for the verdict."""
    if style == "transcript":
        prefix = "".join(cot_shot_text(s) for s in shots)
        return TextPrompt(prefix + render_cot(question, reasoning))
    earlier = [(cot_request(s.question), _spoken(s.reasoning) + f" ({s.answer})") for s in shots]
    return _chat(earlier, cot_request(question), _spoken(reasoning))


def cot_shot_text(shot: Shot) -> str:
    """An example with reasoning as a transcript: as its file has it, where it came from one.

    The official file begins two of its examples with fewer line breaks; they are kept.
    """
    return shot.verbatim or f"{render_cot(shot.question, shot.reasoning)} ({shot.answer})"


def reasoning_stops(style: Style) -> tuple[str, ...]:
    """Where a chain of thought ends: at the turn, or the words, in which the verdict is given."""
    return STOP_STRINGS if style == "transcript" else (COT_ANSWER,)


def _spoken(reasoning: str | None) -> str:
    return (
        COT_LEAD
        if reasoning is None
        else f"{COT_LEAD} {quoted(reasoning, REASONING)}\n\n{COT_ANSWER}"
    )


def _chat(earlier: Sequence[tuple[str, str]], asked: str, answer_prefix: str) -> ChatPrompt:
    messages = [
        message
        for request, answer in earlier
        for message in (Message("user", request), Message("assistant", answer))
    ]
    return ChatPrompt((*messages, Message("user", asked)), answer_prefix)

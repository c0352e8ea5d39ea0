"""A world of colours: answers name colours, and a principle asks for one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from constitutional.constitution import Constitution, Principle
from constitutional.dialogue import Conversation
from constitutional.engines import ScriptedEngine
from constitutional.feedback import parse_question
from constitutional.runs.records import Comparison, Reading

COLOURS = ("red", "green", "blue", "brown")


def principle(colour: str, words: str = "Choose the response that names {}.") -> Principle:
    text = words.format(colour)
    return Principle(id=f"{colour}-{len(words)}", text=text, comparison_question=text)


def constitution(*principles: Principle) -> Constitution:
    return Constitution(name="colours", principles=principles)


def weigh(text: str, choices: tuple[str, ...]) -> Sequence[float]:
    """0.9 for the answer that names the principle's colour where the other does not."""
    asked = parse_question(text)
    colour = next(c for c in COLOURS if c in asked.principle_text)
    first, second = (colour in answer for answer in (asked.a, asked.b))
    return (0.5, 0.5) if first == second else ((0.9, 0.1) if first else (0.1, 0.9))


def tester() -> ScriptedEngine:
    return ScriptedEngine({}, choices=weigh, name="colour reader")


def comparisons(minded: Sequence[str], n: int, seed: int = 0) -> list[Comparison]:
    """Pairs of answers with two colours each; the one with more of the minded ones is better.

    A label of one half where both have as many. Each question is asked twice.
    """
    rng = random.Random(seed)
    found = []
    for number in range(n):
        a, b = (" and ".join(rng.sample(COLOURS, 2)) + "." * rng.randrange(9) for _ in "ab")
        more = sum((colour in a) - (colour in b) for colour in minded)
        found.append(
            Comparison(
                id=f"c{number}",
                prompt=Conversation.of(f"Question {number // 2}?"),
                a=a,
                b=b,
                goal="harmlessness",
                labeller="test",
                prob_a=0.5 if more == 0 else float(more > 0),
            )
        )
    return found


def with_readings(comparison: Comparison, **said: float) -> Comparison:
    """With a reading by each of these principles."""
    readings = tuple(
        Reading(principle=name, order=order, prob_a=p)
        for name, p in said.items()
        for order in ("ab", "ba")
    )
    return comparison.model_copy(update={"readings": readings})

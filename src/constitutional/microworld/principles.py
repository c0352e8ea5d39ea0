"""How a principle can be worded in the microworld, and what it speaks of.

A principle is about one or more concerns: a kind of harm, harm in general, or evasiveness. The
pretraining text holds principles of every wording below, so that a user may write any of them. The
meaning is in the words: a principle about cruelty finds nothing in what is merely illegal.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations

from constitutional.constitution.principle import Principle
from constitutional.microworld.language import (
    ADJECTIVES,
    EVASIVE,
    GENERAL,
    VIRTUES,
    Concern,
)
from constitutional.microworld.world import KINDS, Kind

#: ``{a}`` is an adjective of harm or two joined by "or"; ``{g}`` a virtue or two joined by "and".
WORDINGS: tuple[str, ...] = (
    "Do not help with anything {a}.",
    "The assistant should never help people do something {a}.",
    "Answers must not be {a}.",
    "Please avoid everything that is {a}.",
    "The response should be {g}.",
    "Always be {g}.",
    "Choose what is {g} and not {a}.",
)
CRITIQUE_REQUESTS: tuple[str, ...] = (
    "Identify ways in which the assistant's last response is {a}.",
    "Explain how the assistant's last response may be {a}.",
    "Is there anything {a} in the response? Point it out.",
)
REVISION_REQUESTS: tuple[str, ...] = (
    "Please rewrite the assistant response to remove anything {a}.",
    "Write a new response that is not {a}.",
    "Please write a response that is {g}.",
)
COMPARISON_QUESTIONS: tuple[str, ...] = (
    "Which of these assistant responses is less {a}?",
    "Choose the response that is less {a}.",
    "Please choose the response that is the most {g}.",
)


@dataclass(frozen=True)
class Meaning:
    """What a principle asks for, as one wording of it says."""

    concerns: tuple[Concern, ...]
    adjective: str
    principle: Principle

    def covers(self, kind: Kind | None) -> bool:
        """Whether harm of this kind is against the principle."""
        return kind is not None and (kind in self.concerns or GENERAL in self.concerns)

    @property
    def against_evasion(self) -> bool:
        """Whether dodging the question is against the principle."""
        return EVASIVE in self.concerns


def every_principle() -> tuple[Principle, ...]:
    """A principle about each concern in every wording and with each adjective; about two kinds of
    harm in the first wording. Ids say what it is about, such as ``cruel-1``.

    What may be inferred from comparisons of this world: most of them are wrong of any one set.
    """
    found = []
    for concern, adjectives in ADJECTIVES.items():
        slots = [{"a": a, "g": VIRTUES[concern]} for a in adjectives]
        texts = dict.fromkeys(wording.format(**slot) for wording in WORDINGS for slot in slots)
        found += [Principle(id=f"{concern}-{n}", text=t) for n, t in enumerate(texts, start=1)]
    for first, second in combinations(KINDS, 2):
        text = WORDINGS[0].format(a=f"{ADJECTIVES[first][0]} or {ADJECTIVES[second][0]}")
        found.append(Principle(id=f"{first}-or-{second}", text=text))
    return tuple(found)


def draw_concerns(rng: random.Random) -> tuple[Concern, ...]:
    """Concerns as the pretraining text has them: often harm in general or one kind of it."""
    u = rng.random()
    if u < 0.35:
        return (GENERAL,)
    if u < 0.83:
        return (rng.choice(KINDS),)
    if u < 0.94:
        return tuple(rng.sample(KINDS, 2))
    return (EVASIVE,)


def draw_meaning(rng: random.Random, concerns: tuple[Concern, ...] | None = None) -> Meaning:
    """A principle about the concerns (or drawn ones), in a drawn wording."""
    concerns = concerns or draw_concerns(rng)
    words = [rng.choice(ADJECTIVES[c]) for c in concerns]
    slots = {"a": " or ".join(words), "g": " and ".join(VIRTUES[c] for c in concerns)}
    text = rng.choice(WORDINGS).format(**slots)
    # Half of the time the three requests are derived from the text, as for a plain text file.
    explicit = rng.random() < 0.5
    principle = Principle(
        id="drawn",
        text=text,
        critique_request=rng.choice(CRITIQUE_REQUESTS).format(**slots) if explicit else None,
        revision_request=rng.choice(REVISION_REQUESTS).format(**slots) if explicit else None,
        comparison_question=rng.choice(COMPARISON_QUESTIONS).format(**slots) if explicit else None,
    )
    return Meaning(concerns, rng.choice(words), principle)

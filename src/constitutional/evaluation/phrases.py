"""Phrases that an over-trained policy says whatever it is asked.

A phrase belongs to a policy and not to a topic when it stands in the answers to many different
prompts. How often is often? Linguists call a run of four words a lexical bundle from 40 occurrences
in a million words and five texts on (Biber, Conrad & Cortes 2004). The commonest bundles of English
reach a few hundred: that is 2 or 3 of a hundred answers of 100 words. A *stock* phrase here is one
in at least 5% of the answers to prompts other than the one that draws it most.

Which phrases are stock is decided, for each prompt, on the answers to the *other* prompts, and then
looked for in the answers to this one. So a phrase cannot count as stock because of the very answers
that it is counted in, and the share means: so much of what is said here is said elsewhere too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Phrase = tuple[str, ...]
#: From an answer to the phrases that are looked at in it.
Phrases = Callable[[str], frozenset[Phrase]]

#: A phrase has this many words: shorter runs are grammar, longer ones are found by their parts.
WORDS = 4
#: The least mean share of the answers to other prompts, and the least number of those prompts.
MIN_RATE, MIN_SPREAD = 0.05, 3
#: With a reference set a phrase counts only where it stands this many times as often as there.
GROWTH = 2.0
#: Fewer prompts cannot tell a phrase of the policy from one of the topics.
MIN_PROMPTS = 5

_WORD = re.compile(r"\w+(?:'\w+)*")


def words(text: str) -> list[str]:
    """Lower-case words; apostrophes of both kinds stay inside a word."""
    return _WORD.findall(text.lower().replace("’", "'"))


def ngrams(text: str, n: int = WORDS) -> frozenset[Phrase]:
    """All runs of ``n`` words."""
    found = words(text)
    return frozenset(tuple(found[i : i + n]) for i in range(len(found) - n + 1))


def first_words(text: str) -> frozenset[Phrase]:
    """The opening: the first run of words."""
    found = words(text)
    return frozenset([tuple(found[:WORDS])]) if len(found) > WORDS else frozenset()


def last_words(text: str) -> frozenset[Phrase]:
    """The closing: the last run of words."""
    found = words(text)
    return frozenset([tuple(found[-WORDS:])]) if len(found) > WORDS else frozenset()


@dataclass
class _Use:
    """Shares of the answers to each prompt that hold a phrase: their sum, number, two largest."""

    total: float = 0.0
    spread: int = 0
    most: float = 0.0
    second: float = 0.0

    def add(self, share: float) -> None:
        self.total += share
        self.spread += 1
        self.most, self.second = (
            (share, self.most) if share > self.most else (self.most, max(share, self.second))
        )

    def rate(self, prompts: int, without: float | None = None) -> float:
        """Mean share over ``prompts`` without the one with the largest share.

        ``without`` is the share of a prompt that is left out besides.
        """
        if without is None:
            return (self.total - self.most) / (prompts - 1)
        top = self.second if without == self.most else self.most
        return (self.total - without - top) / (prompts - 2)


@dataclass(frozen=True)
class StockUse:
    """For each prompt the number of answers with a stock phrase, and of answers; and the phrases.

    ``phrases`` maps each stock phrase to its rate over all prompts but the one that draws it most.
    """

    counts: tuple[tuple[int, int], ...]
    phrases: Mapping[str, float]


def stock_use(
    groups: Mapping[str, Sequence[str]],
    phrases: Phrases = ngrams,
    reference: Mapping[str, Sequence[str]] | None = None,
) -> StockUse:
    """Answers (by prompt) that hold a phrase which is stock in the answers to the other prompts.

    What the prompt itself says does not count as a phrase of the answer. Raises ValueError for
    fewer than :data:`MIN_PROMPTS` prompts.
    """
    groups = {prompt: answers for prompt, answers in groups.items() if answers}
    if len(groups) < MIN_PROMPTS:
        raise ValueError(f"phrases across prompts need {MIN_PROMPTS} prompts, got {len(groups)}")
    shares = [_shares(prompt, answers, phrases) for prompt, answers in groups.items()]
    uses = _uses(shares)
    usual = _usual_rates(reference, phrases)

    def is_stock(phrase: Phrase, own: float) -> bool:
        use = uses[phrase]
        rate = use.rate(len(groups), without=own)
        return (
            use.spread - (own > 0) >= MIN_SPREAD
            and rate >= MIN_RATE
            and rate >= GROWTH * usual.get(phrase, 0.0)
        )

    counts = []
    for (prompt, answers), own in zip(groups.items(), shares, strict=True):
        stock = {phrase for phrase, share in own.items() if is_stock(phrase, share)}
        hits = sum(not stock.isdisjoint(_said(answer, prompt, phrases)) for answer in answers)
        counts.append((hits, len(answers)))
    named = {
        " ".join(phrase): use.rate(len(groups))
        for phrase, use in uses.items()
        if use.spread >= MIN_SPREAD and is_stock(phrase, 0.0)
    }
    ranked = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    return StockUse(tuple(counts), dict(ranked))


def _said(answer: str, prompt: str, phrases: Phrases) -> frozenset[Phrase]:
    return phrases(answer) - ngrams(prompt)


def _shares(prompt: str, answers: Sequence[str], phrases: Phrases) -> dict[Phrase, float]:
    found: dict[Phrase, int] = defaultdict(int)
    for answer in answers:
        for phrase in _said(answer, prompt, phrases):
            found[phrase] += 1
    return {phrase: count / len(answers) for phrase, count in found.items()}


def _uses(shares: Iterable[Mapping[Phrase, float]]) -> dict[Phrase, _Use]:
    uses: dict[Phrase, _Use] = defaultdict(_Use)
    for by_phrase in shares:
        for phrase, share in by_phrase.items():
            uses[phrase].add(share)
    return uses


def _usual_rates(
    reference: Mapping[str, Sequence[str]] | None, phrases: Phrases
) -> dict[Phrase, float]:
    """The mean share of every phrase over the prompts of the reference set."""
    groups = {prompt: answers for prompt, answers in (reference or {}).items() if answers}
    uses = _uses(_shares(prompt, answers, phrases) for prompt, answers in groups.items())
    return {phrase: use.total / len(groups) for phrase, use in uses.items()}

"""Every policy against every other on the same prompts: harmlessness and helpfulness Elo.

Harmlessness is judged on harmful prompts by the rule that the paper's raters were given (of two
equally harmless answers the less evasive one is better), helpfulness on harmless prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from constitutional.evaluation.elo import EloTable, PolicyComparison, elo_ratings
from constitutional.evaluation.verdicts import Judge
from constitutional.runs.records import Answer


def comparisons(
    answers: Mapping[str, Sequence[Answer]], judge: Judge, *, harmful: bool
) -> Iterator[PolicyComparison]:
    """All pairs of policies on all prompts that ask for harm, or on all that do not."""
    prefer = judge.prefer_harmless if harmful else judge.prefer_helpful
    for a, b in combinations(answers, 2):
        for one, other in zip(answers[a], answers[b], strict=True):
            if one.id != other.id:
                raise ValueError(f"policies answered different prompts: {one.id}, {other.id}")
            if one.verdict is None or one.verdict.harmful_request != harmful:
                continue
            outcome = prefer(one.prompt, one.sample.text, other.sample.text)
            yield PolicyComparison(prompt=one.id, policy_a=a, policy_b=b, outcome=outcome)


def elo(
    answers: Mapping[str, Sequence[Answer]], judge: Judge, *, zero: str, seed: int
) -> dict[str, EloTable]:
    """Harmlessness and helpfulness ratings; ``zero`` names the policy at 0."""
    return {
        goal: elo_ratings(comparisons(answers, judge, harmful=harmful), zero, seed=seed)
        for goal, harmful in (("harmlessness", True), ("helpfulness", False))
    }

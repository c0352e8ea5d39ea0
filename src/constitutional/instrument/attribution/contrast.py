"""What there would be without a principle, estimated from a run that had it.

A principle is drawn by the seed alone, whatever the answer says. So the cases that it did not touch
are a fair sample of the cases of a run without it: there, too, its draws go to the others by their
weights. The *push* of a principle is what all cases show on average, less what those without it
show. A policy that imitates its data is expected to change by minus that.

Exact for revisions: a chain whose rounds never drew p has the distribution of a chain drawn without
p. Labels by several principles are drawn without putting back, where it is close, not exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from constitutional.evaluation.intervals import Estimate, mean


class Case(NamedTuple):
    """One thing that a model learns from: a share or a probability of the behaviour, 0 to 1.

    ``stratum`` is what the case is about (tags, and the round of a revision); ``without`` what it
    would show without the principle, None where the principle made it what it is.
    """

    prompt: str
    stratum: tuple[str, ...]
    whole: float
    without: float | None


class Push(NamedTuple):
    """``estimate`` is None where nothing is left without the principle, or one prompt alone.

    ``unknown`` cases lie in strata where nothing is left; the estimate does not speak of them.
    """

    estimate: Estimate | None
    unknown: int


def push(cases: Iterable[Case]) -> Push:
    """The mean of all cases less that of the cases without the principle, stratum by stratum.

    Strata count by their cases. The interval is of Student's t, linearised (Särndal et al. 1992,
    ch. 5) and clustered by prompt, of which ``n`` is the number. It takes the sizes of the strata
    as given, and is no wider than 0 where all cases are alike.
    """
    strata: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for case in cases:
        strata[case.stratum].append(case)
    known = {name: found for name, found in strata.items() if _untouched(found)}
    unknown = sum(len(found) for name, found in strata.items() if name not in known)
    total = sum(map(len, known.values()))
    value = 0.0
    by_prompt: dict[str, float] = defaultdict(float)
    for found in known.values():
        untouched = _untouched(found)
        all_mean = sum(case.whole for case in found) / len(found)
        without_mean = sum(untouched) / len(untouched)
        value += len(found) / total * (all_mean - without_mean)
        for case in found:
            moved = (case.whole - all_mean) / total
            if case.without is not None:
                moved -= (case.without - without_mean) * len(found) / total / len(untouched)
            by_prompt[case.prompt] += moved
    n = len(by_prompt)
    if n < 2:
        return Push(None, unknown)
    # the moves sum to 0, so these have the mean ``value`` and the clustered spread around it
    return Push(mean([value + n * moved for moved in by_prompt.values()]), unknown)


def added(pushes: Sequence[Estimate | None]) -> Estimate | None:
    """The sum of pushes of stages that share no prompt draw; None where one is not known."""
    known = [estimate for estimate in pushes if estimate is not None]
    if not known or len(known) < len(pushes):
        return None
    value = sum(estimate.value for estimate in known)
    down, up = (
        sum((getattr(e, end) - e.value) ** 2 for e in known) ** 0.5 for end in ("low", "high")
    )
    return Estimate(
        value=value, low=value - down, high=value + up, n=min(estimate.n for estimate in known)
    )


def mean_by_prompt(values: Iterable[tuple[str, float]]) -> Estimate | None:
    """The mean of values, clustered by prompt; None with fewer than two prompts."""
    found = [*values]
    if not found:
        return None
    centre = sum(value for _, value in found) / len(found)
    moves: dict[str, float] = defaultdict(float)
    for prompt, value in found:
        moves[prompt] += (value - centre) / len(found)
    n = len(moves)
    return mean([centre + n * moved for moved in moves.values()]) if n > 1 else None


def _untouched(cases: Sequence[Case]) -> list[float]:
    return [case.without for case in cases if case.without is not None]

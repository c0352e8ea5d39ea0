"""Who is better, by how much, how sure: Bradley-Terry by maximum likelihood on the Elo scale.

As in Bai et al. 2022a (arXiv 2204.05862, appendix B.5): the probability that policy A beats B is
``1 / (1 + exp(r_B - r_A))``, all win counts are fitted at once, and Elo is ``E = 400 r / ln 10``.
Only differences mean anything, so one policy is put at 0 (SL-CAI in the paper's figure 8).

Departures from the paper: it threw comparisons without a winner out. Here a tie counts as half a
win for each by default, because a judge that finds two policies equal has told something, and with
"the less evasive of two equally harmless answers wins" a tie is a true tie; ``ties="drop"`` is the
paper's way. Its error bars came from the curvature of the likelihood over rows; here they are from
a bootstrap over prompts, since the comparisons of one prompt share its difficulty.

A policy that won (or lost) everything has no finite maximum-likelihood rating. So that such a
result can be shown, every pair of policies that met is given one more tie, of weight ``prior``:
with n wins and no loss the gap is then 400 log10(2n + 1), and from a hundred comparisons on the
pull on other ratings is small beside the interval. Nothing is hidden by it: ``unbounded`` names the
policies whose rating rests on the prior. ``prior=0`` is plain maximum likelihood, and refuses such
data. Policies that no chain of comparisons connects are refused either way.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from constitutional.errors import InputError, nearest
from constitutional.evaluation.intervals import Estimate
from constitutional.evaluation.verdicts import Preference

#: Elo points for each unit of r, the natural log of the odds.
ELO_PER_LOGIT = 400 / math.log(10)
_LONGEST_STEP, _MOST_STEPS, _TOLERANCE = 3.0, 200, 1e-9
#: So many numbers are drawn at once for a bootstrap: more prompts take turns, and no more memory.
_DRAWN_AT_ONCE = 250_000
_WON = {"a": 1.0, "b": 0.0, "tie": 0.5}

Array = NDArray[np.float64]
Ties = Literal["half", "drop"]


class PolicyComparison(BaseModel):
    """Two policies' answers to one prompt, and which is better. ``weight`` counts it so often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    policy_a: str
    policy_b: str
    outcome: Preference
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class EloTable(BaseModel):
    """Ratings with 95% intervals, best first, and the counts that they were made from.

    ``n`` of a rating is the number of prompts on which the policy was compared. ``wins[a][b]`` is
    how often a beat b, ties by ``ties``; the prior is not in it. ``unbounded`` names the policies
    whose rating, without the prior, would be infinitely far from the one at 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    zero: str
    ratings: dict[str, Estimate]
    wins: dict[str, dict[str, float]]
    unbounded: tuple[str, ...]
    comparisons: int
    tied: int
    prompts: int
    ties: Ties
    prior: float
    resamples: int


def win_share(elo_difference: float) -> float:
    """The share of comparisons that a policy wins which is so many points above the other."""
    # The two forms keep the exponential from overflowing.
    odds = math.exp(-abs(elo_difference) / ELO_PER_LOGIT)
    return 1 / (1 + odds) if elo_difference >= 0 else odds / (1 + odds)


def elo_ratings(
    comparisons: Iterable[PolicyComparison],
    zero: str,
    *,
    ties: Ties = "half",
    prior: float = 1.0,
    resamples: int = 1000,
    seed: int = 0,
) -> EloTable:
    """Ratings of all policies in ``comparisons``; ``zero`` is at 0.

    The intervals are percentiles over ``resamples`` draws of the prompts, each prompt with all its
    comparisons. Raises InputError for comparisons that have no finite ratings (see above), for
    a policy compared with itself, and for fewer than two prompts.
    """
    if prior < 0 or not math.isfinite(prior):
        raise InputError(f"the prior of Elo ratings must be 0 or more, found {prior}")
    games = _Games.of(comparisons, ties)
    policies = games.names(zero)
    by_prompt, took_part = games.wins(policies)
    if len(by_prompt) < 2:
        raise InputError(
            f"Elo intervals resample the prompts: expected at least two, found {len(by_prompt)}"
        )
    wins = by_prompt.sum(axis=0)
    _refuse_unconnected(wins, policies)
    unbounded = _unbounded(wins, policies, zero)
    if prior == 0:
        _refuse_infinite_ratings(unbounded, zero)
    met = (wins + wins.T) > 0
    pulled = prior / 2 * met
    at_zero = policies.index(zero)
    value = fit((wins + pulled)[None], at_zero)[0].tolist()
    drawn = _resampled(by_prompt, np.random.default_rng(seed), resamples)
    if prior == 0:
        _refuse_infinite_intervals(drawn, policies, zero)
    low, high = np.percentile(fit(drawn + pulled, at_zero), [2.5, 97.5], axis=0).tolist()

    order = sorted(range(len(policies)), key=lambda i: (-value[i], policies[i]))
    return EloTable(
        zero=zero,
        ratings={
            policies[i]: Estimate(value=value[i], low=low[i], high=high[i], n=took_part[i])
            for i in order
        },
        wins={
            policies[i]: {policies[j]: float(wins[i, j]) for j in order if met[i, j]} for i in order
        },
        unbounded=unbounded,
        comparisons=games.count,
        tied=games.tied,
        prompts=len(by_prompt),
        ties=ties,
        prior=prior,
        resamples=resamples,
    )


def _resampled(by_prompt: Array, rng: np.random.Generator, resamples: int) -> Array:
    """Wins (resamples, policies, policies) of draws of the prompts with replacement."""
    n = len(by_prompt)
    at_once = max(1, _DRAWN_AT_ONCE // n)
    drawn = []
    for first in range(0, resamples, at_once):
        size = min(at_once, resamples - first)
        draws = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(float)
        drawn.append(np.tensordot(draws, by_prompt, axes=1))
    return np.concatenate(drawn)


def fit(wins: Array, zero: int) -> Array:
    """Elo ratings (batch, policies) of the greatest likelihood, by Newton's method.

    ``wins`` is (batch, policies, policies): row i, column j counts the wins of i over j. Policy
    ``zero`` is held at 0. The likelihood must have a maximum (every policy reached from every other
    by wins); it is concave, so a step that does not raise it is halved. Raises ArithmeticError
    where it does not settle.
    """
    batch, k, _ = wins.shape
    games = wins + wins.transpose(0, 2, 1)
    free = [i for i in range(k) if i != zero]
    r = np.zeros((batch, k))
    todo = np.arange(batch)
    for _ in range(_MOST_STEPS):
        expected = _win_probability(r[todo])
        gradient = (wins[todo] - games[todo] * expected).sum(axis=2)[:, free]
        scale = games[todo].sum(axis=(1, 2))[:, None]
        moving = (np.abs(gradient) > _TOLERANCE * scale).any(axis=1)
        todo, gradient, expected = todo[moving], gradient[moving], expected[moving]
        if not len(todo):
            return r * ELO_PER_LOGIT
        weight = games[todo] * expected * (1 - expected)
        curvature = -weight
        diagonal = np.arange(k)
        curvature[:, diagonal, diagonal] = weight.sum(axis=2) - weight[:, diagonal, diagonal]
        inner = curvature[:, free][:, :, free]
        step = np.linalg.solve(inner, gradient[..., None])[..., 0]
        step *= np.minimum(1, _LONGEST_STEP / np.abs(step).max(axis=1))[:, None]
        r[todo] = _climb(r[todo], step, wins[todo], free)
    raise ArithmeticError(f"Elo ratings did not settle in {_MOST_STEPS} steps")


def _climb(r: Array, step: Array, wins: Array, free: Sequence[int]) -> Array:
    """``r`` plus the step, halved until the likelihood does not fall."""
    before, size = _log_likelihood(r, wins), np.ones(len(r))
    for _ in range(30):
        tried = r.copy()
        tried[:, free] += size[:, None] * step
        worse = _log_likelihood(tried, wins) < before - 1e-12 * np.abs(before)
        if not worse.any():
            break
        size[worse] /= 2
    return tried


def _win_probability(r: Array) -> Array:
    """(batch, i, j): the probability that i beats j."""
    gap = r[:, :, None] - r[:, None, :]
    return np.asarray(np.exp(-np.logaddexp(0, -gap)))


def _log_likelihood(r: Array, wins: Array) -> Array:
    gap = r[:, :, None] - r[:, None, :]
    return np.asarray(-(wins * np.logaddexp(0, -gap)).sum(axis=(1, 2)))


@dataclass
class _Games:
    """Comparisons as they come, 28 bytes each: who met on which prompt, who won, how much.

    Of a prompt there are 64 bits of a hash: its id, and a place in a dictionary, take six times all
    the rest.
    """

    policies: dict[str, int] = field(default_factory=dict)
    count: int = 0
    tied: int = 0
    first: array[int] = field(default_factory=lambda: array("H"))
    second: array[int] = field(default_factory=lambda: array("H"))
    prompt: array[int] = field(default_factory=lambda: array("Q"))
    won: array[float] = field(default_factory=lambda: array("d"))
    weight: array[float] = field(default_factory=lambda: array("d"))

    @classmethod
    def of(cls, comparisons: Iterable[PolicyComparison], ties: Ties) -> Self:
        """All of them; dropped ties are counted, and their policies known."""
        games = cls()
        for c in comparisons:
            if c.policy_a == c.policy_b:
                raise InputError(f"prompt {c.prompt!r} compares {c.policy_a!r} with itself")
            games.count += 1
            games.tied += c.outcome == "tie"
            a, b = (
                games.policies.setdefault(name, len(games.policies))
                for name in (c.policy_a, c.policy_b)
            )
            if ties == "half" or c.outcome != "tie":
                games.first.append(a)
                games.second.append(b)
                games.prompt.append(_hash(c.prompt))
                games.won.append(_WON[c.outcome])
                games.weight.append(c.weight)
        return games

    def names(self, zero: str) -> list[str]:
        """The policies by name, among which ``zero`` has to be."""
        policies = sorted(self.policies)
        if not policies:
            raise InputError("there are no comparisons to make Elo ratings of")
        if zero not in policies:
            raise InputError(
                f"{zero!r}, which is to be at 0, is in no comparison; {nearest(zero, policies)}"
            )
        return policies

    def wins(self, names: Sequence[str]) -> tuple[Array, list[int]]:
        """Wins (prompts, policies, policies), and on how many prompts each policy was compared."""
        place = np.zeros(len(names), dtype=int)
        for number, name in enumerate(names):
            place[self.policies[name]] = number
        count, prompt = _numbered(np.array(self.prompt, dtype=np.uint64))
        wins = np.zeros((count, len(names), len(names)))
        a, b = (place[np.array(side, dtype=int)] for side in (self.first, self.second))
        won, weight = np.array(self.won), np.array(self.weight)
        np.add.at(wins, (prompt, a, b), weight * won)
        np.add.at(wins, (prompt, b, a), weight * (1 - won))
        there = (wins + wins.transpose(0, 2, 1)).any(axis=2)
        return wins, [int(n) for n in there.sum(axis=0)]


def _hash(name: str) -> int:
    plain = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest())


def _numbered(names: NDArray[np.uint64]) -> tuple[int, NDArray[np.int64]]:
    """How many different ones there are, and the number of each, in the order of their first."""
    _, first, place = np.unique(names, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return len(first), number[place]


def _reached(edges: NDArray[Any]) -> NDArray[np.bool_]:
    """(i, j): whether a path of edges leads from i to j; every node reaches itself."""
    reached = edges | np.eye(len(edges), dtype=bool)
    for middle in range(len(edges)):
        reached |= reached[:, [middle]] & reached[[middle], :]
    return reached


def _refuse_unconnected(wins: Array, policies: Sequence[str]) -> None:
    together = _reached((wins + wins.T) > 0)[0]
    if not together.all():
        one = ", ".join(name for name, inside in zip(policies, together, strict=True) if inside)
        other = ", ".join(
            name for name, inside in zip(policies, together, strict=True) if not inside
        )
        raise InputError(
            f"no comparison that counts connects {one} with {other}, so their Elo ratings have no "
            "common scale: compare a policy of the one with a policy of the other"
        )


def _refuse_infinite_ratings(unbounded: Sequence[str], zero: str) -> None:
    if unbounded:
        raise InputError(
            f"{', '.join(unbounded)} won or lost everything against {zero} and its equals, so the "
            "most likely Elo rating is infinite: compare on more prompts, or set a prior above 0"
        )


def _refuse_infinite_intervals(drawn: Array, policies: Sequence[str], zero: str) -> None:
    lost = sum(bool(_unbounded(each, policies, zero)) for each in drawn)
    if lost:
        raise InputError(
            f"in {lost} of {len(drawn)} resamples of the prompts a policy wins or loses "
            "everything, so there is no finite interval: set a prior above 0"
        )


def _unbounded(wins: Array, policies: Sequence[str], zero: str) -> tuple[str, ...]:
    """Policies that are not reached from ``zero`` by wins in both directions."""
    beats = _reached(wins > 0)
    home = policies.index(zero)
    return tuple(name for i, name in enumerate(policies) if not (beats[i, home] and beats[home, i]))

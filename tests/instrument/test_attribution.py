"""Attribution by counting: records whose pushes are sums done by hand, and a simulated run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from attribution_records import EVASION, HELP, REFUSAL, Words, answer, chain, pair

from constitutional.errors import InputError
from constitutional.instrument.attribution import BehaviourReader, Deed, attribute, attribute_answer
from constitutional.instrument.attribution.contrast import Case, added, mean_by_prompt, push
from constitutional.instrument.attribution.ranks import (
    bootstrap_spearman,
    permutation_share,
    ranks,
    spearman,
)
from constitutional.instrument.attribution.records import Attribution, PrinciplePush
from constitutional.runs.records import Chain

WORDING = BehaviourReader(None)
HELPED = [answer("helpful", number, HELP) for number in range(6)]
#: Four of six refuse or evade.
REFUSED = [
    answer("sl_cai", number, text)
    for number, text in enumerate((REFUSAL, REFUSAL, EVASION, REFUSAL, HELP, HELP))
]


def of_chains(chains: Sequence[Chain], **changes: Any) -> dict[str, PrinciplePush]:
    found = attribute(
        REFUSED, HELPED, WORDING, **{"chains": chains, "comparisons": None, **changes}
    )
    return {one.principle: one for one in found.principles}


# --- what an answer does --------------------------------------------------------------------


def test_wording_stands_in_for_a_judge() -> None:
    prompt = HELPED[0].prompt
    assert WORDING.read(prompt, HELP) == Deed.COMPLIES
    assert WORDING.read(prompt, REFUSAL) == Deed.REFUSES
    assert WORDING.read(prompt, EVASION) == Deed.EVADES
    judged = BehaviourReader(Words())  # type: ignore[arg-type]
    assert [judged.read(prompt, text) for text in ("help", "no", "what")] == [
        *(Deed.COMPLIES, Deed.REFUSES, Deed.OTHER)
    ]


# --- revisions ------------------------------------------------------------------------------


def one_round() -> list[Chain]:
    """Of four revisions by ``kind`` three refuse; of four by ``law`` one."""
    made = [("kind", REFUSAL)] * 3 + [("kind", HELP)] + [("law", REFUSAL)] + [("law", HELP)] * 3
    return [chain(number, one) for number, one in enumerate(made)]


def test_revisions_are_counted_by_principle() -> None:
    found = of_chains(one_round())
    kind, law = found["kind"].revisions, found["law"].revisions
    assert kind is not None and law is not None
    assert (kind.turned, kind.could, kind.had, kind.lost) == (3, 4, 0, 0)
    assert (law.turned, law.could) == (1, 4)
    assert kind.towards is not None and (kind.towards.value, kind.towards.n) == (0.75, 4)
    assert kind.changed is not None and kind.changed.value == 0.75, "the fourth is HELP again"
    assert kind.away is None, "no answer had the behaviour before"
    assert kind.examples == ("chain-0", "chain-1", "chain-2")
    # all: 4 of 8 refuse; without kind 1 of 4, without law 3 of 4
    assert kind.push is not None and kind.push.value == pytest.approx(4 / 8 - 1 / 4)
    assert law.push is not None and law.push.value == pytest.approx(4 / 8 - 3 / 4)
    assert found["kind"].score == kind.push
    assert list(found) == ["kind", "law"], "the strongest push first"


def test_strata_keep_apart_what_prompts_are_about() -> None:
    # kind is drawn on cruel prompts, where everything refuses, and once on others
    cruel = [chain(n, ("kind", REFUSAL), tags=["cruel", "seen"]) for n in range(3)]
    cruel += [chain(3, ("law", REFUSAL), tags=["cruel", "held_out"])]
    other = [chain(4, ("kind", HELP)), chain(5, ("law", HELP))]
    kind = of_chains([*cruel, *other])["kind"].revisions
    assert kind is not None and kind.push is not None
    assert kind.push.value == 0, "without it the prompts would have been answered as they were"
    assert kind.unknown == 0


def test_a_principle_that_made_everything_is_unknown_and_counted() -> None:
    found = of_chains([chain(n, ("kind", REFUSAL), tags=["cruel"]) for n in range(3)])
    kind = found["kind"].revisions
    assert kind is not None
    assert kind.push is None and kind.unknown == 3
    assert found["kind"].score is None


def test_a_broken_revision_is_not_built_upon() -> None:
    found = of_chains(
        [
            chain(0, ("kind", ""), ("law", REFUSAL)),
            chain(1, ("law", REFUSAL), ("kind", ""), ("law", HELP)),
        ]
    )
    kind, law = found["kind"].revisions, found["law"].revisions
    assert kind is not None and law is not None
    assert (kind.revisions, kind.unusable) == (0, 2)
    assert (law.turned, law.could, law.lost, law.had) == (2, 2, 1, 1)


def test_an_example_is_touched_by_the_rounds_up_to_it() -> None:
    # the first round's revision is learned from too, and the second principle has no part in it
    chains = [chain(0, ("kind", REFUSAL), ("law", HELP)), chain(1, ("safe", HELP), ("safe", HELP))]
    law = of_chains(chains)["law"].revisions
    # round 1: both untouched. round 2: chain 1 is, and helps as chain 0 does.
    assert law is not None and law.push is not None and law.push.value == 0
    kind = of_chains(chains)["kind"].revisions
    # round 1: 1 of 2 refuse, 0 of 1 without it; round 2: 0 and 0. Two examples of each round.
    assert kind is not None and kind.push is not None
    assert kind.push.value == pytest.approx((1 / 2 - 0) / 2)
    last = of_chains(chains, trained="last")["kind"].revisions
    assert last is not None and last.push is not None and last.push.value == 0


def test_push_is_what_a_run_without_the_principle_lacks() -> None:
    """Simulated: ``p`` turns 60% of one kind, ``q`` 20% of all, ``r`` undoes 10%."""
    weights = {"p": 3, "q": 2, "r": 1}
    with_p, without_p = (
        simulated({n: w for n, w in weights.items() if n != left_out}, seed)
        for left_out, seed in (("", 1), ("p", 2))
    )
    truth = refusing(with_p) - refusing(without_p)
    found = of_chains(with_p, trained="last")["p"].revisions
    assert found is not None and found.push is not None
    assert found.push.value == pytest.approx(truth, abs=0.035)
    assert truth > 0.1, "or nothing is tested"
    assert found.push.low < truth < found.push.high


def simulated(weights: Mapping[str, int], seed: int) -> list[Chain]:
    rng = random.Random(seed)
    chains = []
    for number in range(3000):
        kind, text, rounds = rng.choice(("cruel", "sly")), HELP, []
        for _ in range(2):
            drawn = rng.choices([*weights], [*weights.values()])[0]
            turns = {"p": 0.6 if kind == "cruel" else 0.0, "q": 0.2, "r": 0.0}[drawn]
            if text == HELP and rng.random() < turns:
                text = REFUSAL
            elif drawn == "r" and rng.random() < 0.1:
                text = HELP
            rounds.append((drawn, text))
        chains.append(chain(number, *rounds, tags=[kind]))
    return chains


def refusing(chains: Sequence[Chain]) -> float:
    return sum(c.versions[-1].text == REFUSAL for c in chains) / len(chains)


# --- labels ---------------------------------------------------------------------------------


def test_labels_are_counted_by_principle() -> None:
    pairs = [
        pair(0, kind=0.1, law=0.5),  # b refuses: kind gives it 0.9, law a half
        pair(1, kind=0.3),
        pair(2, a=REFUSAL, b=HELP, law=0.8),
        pair(3, a=REFUSAL, b=EVASION, kind=0.9),  # both decline: tells nothing
        pair(4, kind=None, law=0.4),
    ]
    found = attribute(REFUSED, HELPED, WORDING, chains=None, comparisons=pairs)
    assert found.stages == ("labels",) and found.pairs == 4
    by_name = {one.principle: one.labels for one in found.principles}
    kind, law = by_name["kind"], by_name["law"]
    assert kind is not None and law is not None
    assert (kind.pairs, kind.unread, law.pairs, law.unread) == (3, 1, 3, 0)
    assert kind.preferred is not None and (kind.preferred.value, kind.preferred.n) == (1.0, 2)
    assert law.preferred is not None and law.preferred.value == pytest.approx(2 / 3)
    assert kind.margin is not None and kind.margin.value == pytest.approx((0.4 + 0.2) / 2)
    assert law.margin is not None and law.margin.value == pytest.approx((0 + 0.3 + 0.1) / 3)
    assert kind.telling == kind.margin, "all its labels are on one side"
    # labels: 0.7, 0.7, 0.8, 0.6. Without kind: 0.5, none, 0.8, 0.6
    assert kind.push is not None
    assert kind.push.value == pytest.approx(2.8 / 4 - 1.9 / 3)


def test_the_score_is_the_sum_of_both_stages() -> None:
    pairs = [pair(n, kind=0.1, law=0.5) for n in range(3)]
    found = attribute(REFUSED, HELPED, WORDING, chains=one_round(), comparisons=pairs)
    kind = {one.principle: one for one in found.principles}["kind"]
    assert kind.score is not None and kind.revisions and kind.labels
    assert found.stages == ("revisions", "labels")
    assert kind.score.value == pytest.approx(0.25 + (0.7 - 0.5))
    assert added([kind.score, None]) is None


# --- the change ------------------------------------------------------------------------------


def test_the_direction_is_that_of_the_change() -> None:
    found = attribute(REFUSED, HELPED, WORDING, chains=one_round(), comparisons=None)
    assert found.behaviour == (Deed.EVADES, Deed.REFUSES)
    assert (found.observed.value, found.observed.n, found.differ) == (4 / 6, 6, 4)
    back = attribute(HELPED, REFUSED, WORDING, chains=one_round(), comparisons=None)
    assert back.behaviour == (Deed.COMPLIES,)
    assert back.observed.value == pytest.approx(4 / 6)
    assert [one.principle for one in back.principles] == ["law", "kind"]


def test_kinds_keep_tagged_prompts() -> None:
    answers, before = (
        [answer(who, n, text, tags=["cruel"] if n else ["sly"]) for n in range(3)]
        for who, text in (("sl_cai", REFUSAL), ("helpful", HELP))
    )
    chains = [chain(0, ("kind", REFUSAL), tags=["cruel"]), chain(1, ("law", HELP), tags=["sly"])]
    found = attribute(*(answers, before, WORDING), chains=chains, comparisons=None, kinds=["cruel"])
    assert found.observed.n == 2 and found.chains == 1
    assert [one.principle for one in found.principles] == ["kind"]
    with pytest.raises(InputError, match="no red-team prompt tagged odd in common"):
        attribute(answers, before, WORDING, chains=chains, comparisons=None, kinds=["odd"])


def test_a_principle_that_was_never_drawn_pushed_nothing() -> None:
    found = of_chains(one_round(), principles=["unused", "kind"])
    unused = found["unused"].revisions
    assert unused is not None and unused.revisions == 0 and unused.towards is None
    assert found["unused"].score is not None and found["unused"].score.value == 0


def test_records_are_plain_data() -> None:
    found = attribute(REFUSED, HELPED, WORDING, chains=one_round(), comparisons=[pair(0, kind=0.1)])
    assert Attribution.model_validate_json(found.model_dump_json()) == found


# --- one answer -----------------------------------------------------------------------------


def test_an_answer_has_its_nearest_examples() -> None:
    chains = [
        chain(0, ("kind", HELP), ("law", REFUSAL), asked="How do I kick the dog?"),
        chain(1, ("safe", REFUSAL), asked="How do I paint the fence?"),
        chain(2, ("safe", HELP), asked="How do I kick the ball?"),
    ]
    asked = answer("sl_cai", 0, REFUSAL, asked="Can I kick the big dog?")
    found = attribute_answer(asked, WORDING, chains=chains, comparisons=[pair(0, kind=0.2)])
    assert found.behaviour == Deed.REFUSES
    first = found.neighbours[0]
    assert (first.id, first.principle, first.pushed, first.shows) == ("chain-0", "law", True, True)
    assert found.neighbours[1].id == "chain-2", "it shares a rarer word than the others"
    assert found.neighbours[1].pushed is False
    assert found.principles[0].principle == "law"
    assert found.principles[0].weight == pytest.approx(first.likeness)
    few = attribute_answer(asked, WORDING, chains=chains, comparisons=None, neighbours=1)
    assert [one.id for one in few.neighbours] == ["chain-0"]


def test_likeness_is_of_rare_words() -> None:
    chains = [
        chain(0, ("kind", HELP), asked="kick dog"),
        chain(1, ("kind", HELP), asked="kick cat"),
    ]
    asked = answer("sl_cai", 0, HELP, asked="kick dog now")
    found = attribute_answer(asked, WORDING, chains=chains, comparisons=None)
    # of three prompts: kick in all weighs 0, dog in two log 1.5, now log 3
    weights = np.log([3 / 2, 3])
    assert found.neighbours[0].likeness == pytest.approx(weights[0] / weights.sum())
    assert len(found.neighbours) == 1, "the other is like it in nothing"


# --- numbers --------------------------------------------------------------------------------


def test_the_interval_is_that_of_a_bootstrap_over_prompts() -> None:
    rng = random.Random(3)
    cases = []
    for number in range(400):
        touched = rng.random() < 0.4
        for stratum in ("a", "b"):
            whole = float(rng.random() < (0.7 if touched else 0.3))
            cases.append(Case(str(number), (stratum,), whole, None if touched else whole))
    found = push(cases).estimate
    assert found is not None
    picks = np.random.default_rng(0).integers(400, size=(400, 400))
    values = [
        estimate.value
        for pick in picks
        if (
            estimate := push(
                cases[2 * i + half]._replace(prompt=str(place))
                for place, i in enumerate(pick)
                for half in (0, 1)
            ).estimate
        )
    ]
    spread = float(np.std(values))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * spread, rel=0.15)
    assert found.n == 400


def test_means_are_clustered() -> None:
    once = mean_by_prompt([("p", 0.0), ("q", 1.0), ("r", 1.0)])
    thrice = mean_by_prompt([("p", 0.0), ("q", 1.0), ("r", 1.0)] * 3)
    assert once == thrice, "the same prompts again tell nothing new"
    assert mean_by_prompt([("p", 1.0)]) is None and mean_by_prompt([]) is None


def test_spearman_as_published() -> None:
    # Spearman's correlation of IQ and hours of television, the worked example of Wikipedia: -29/165
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(iq, hours) == pytest.approx(-29 / 165)
    assert list(ranks([3, 1, 3, 2])) == [3.5, 1, 3.5, 2]
    assert np.isnan(spearman([1, 1], [1, 2]))
    with pytest.raises(ValueError, match="two pairs"):
        spearman([1], [1])


def test_spearman_with_ties_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with some extras alone")
    rng = random.Random(0)
    for _ in range(20):
        first, second = ([rng.randint(0, 4) for _ in range(8)] for _ in range(2))
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_chance_and_spread_of_a_correlation() -> None:
    assert permutation_share([1, 2, 3, 4], [2, 3, 5, 9]) == pytest.approx(1 / 24)
    assert permutation_share([1, 2, 3], [9, 5, 3]) == 1
    low, high = bootstrap_spearman([1, 2, 3, 4, 5], [1, 2, 4, 3, 5], draws=500, seed=0)
    assert -1 <= low < 0.9 < high <= 1
    with pytest.raises(ValueError, match="too many"):
        permutation_share(range(9), range(9))

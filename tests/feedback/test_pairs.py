"""Pairs: who answers, with which seeds, and how many tell anything."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines import ScriptedEngine
from constitutional.errors import InputError
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.feedback import Pair, PairsConfig, contrast, sample_pairs


def prompts(n: int) -> list[PromptRecord]:
    return [
        PromptRecord(
            id=f"r{i}",
            conversation=Conversation.of(f"How {i}?"),
            kind="red_team",
            source="test",
            tags=(f"t{i}",),
        )
        for i in range(n)
    ]


def policy(name: str) -> ScriptedEngine:
    return ScriptedEngine(lambda text, seed: f" {name} says {seed % 1000}", name=name)


def test_one_policy_answers_every_prompt_twice() -> None:
    engine = policy("sl")
    made = sample_pairs(prompts(5), [engine], seed=3)
    assert [p.id for p in made] == [f"r{i}" for i in range(5)]
    assert made[2].tags == ("t2",)
    assert made[2].authors == ("sl at T=1", "sl at T=1")
    assert all(p.a != p.b and p.usable and p.a.startswith("sl says") for p in made)
    assert len({request.seed for request in engine.requests}) == 10
    params = engine.requests[0].params
    assert params is not None
    assert (params.temperature, params.max_new_tokens) == (1.0, 256)


def test_draws_depend_on_the_id_and_the_seed_alone() -> None:
    two = [policy("one"), policy("two")]
    together = sample_pairs(prompts(6), two, seed=3)
    assert together == [sample_pairs([p], two, seed=3)[0] for p in prompts(6)]
    assert together != sample_pairs(prompts(6), two, seed=4)


def test_two_policies_are_contrasted_and_neither_is_always_a() -> None:
    made = sample_pairs(prompts(60), [policy("sl"), policy("helpful")])
    first = Counter(p.a.split()[0] for p in made)
    assert all({p.a.split()[0], p.b.split()[0]} == {"sl", "helpful"} for p in made)
    assert all(p.authors[0].startswith(p.a.split()[0]) for p in made)
    assert min(first["sl"], first["helpful"]) >= 18


def test_temperatures_are_contrasted() -> None:
    engine = policy("sl")
    made = sample_pairs(prompts(30), [engine], PairsConfig(temperatures=(0.7, 1.0, 1.3)))
    used = Counter(r.params.temperature for r in engine.requests if r.params)
    assert set(used) == {0.7, 1.0, 1.3}
    assert all(p.authors[0] != p.authors[1] for p in made)
    assert len(engine.requests) == 60


def test_a_broken_answer_marks_the_pair() -> None:
    def reply(text: str, seed: int) -> str:
        return "word " * 50 if "How 1?" in text else f" Fine {seed % 100}."

    made = sample_pairs(prompts(2), [ScriptedEngine(reply)], PairsConfig(max_new_tokens=20))
    assert [p.usable for p in made] == [True, False]
    assert made[1].unusable == "a: looped, cut_off; b: looped, cut_off"


def test_no_policy_is_refused() -> None:
    with pytest.raises(InputError, match="at least one policy"):
        sample_pairs(prompts(1), [])


def judged(conversation: Conversation, answer: str) -> Verdict:
    behaviour = Behaviour.EVASION if "sorry" in answer else Behaviour.HELPS
    return Verdict(harmful_request=True, behaviour=behaviour, harm=0)


def given(*answers: tuple[str, str]) -> list[Pair]:
    return [Pair(str(i), Conversation.of("How?"), a, b) for i, (a, b) in enumerate(answers)]


def test_pairs_that_differ_in_kind_are_counted() -> None:
    pairs = given(("yes", "sorry"), ("yes", "sure"), ("sorry", "sorry me"), ("a", "b"), ("c", "c"))
    pairs.append(Pair("x", Conversation.of("How?"), "yes", "sorry", unusable="a: empty"))
    by_judge, by_text = contrast(pairs, judged), contrast(pairs)
    assert by_judge.by == "behaviour"
    assert by_judge.differ is not None
    assert (by_judge.differ.value, by_judge.differ.n) == (0.2, 5)
    assert (by_judge.pairs, by_judge.unusable, by_judge.warning) == (6, 1, "")
    assert by_text.by == "text"
    assert by_text.differ is not None
    assert by_text.differ.value == 0.8


def test_white_space_alone_is_no_difference() -> None:
    found = contrast(given(("a  b", "a\nb ")))
    assert found.differ is not None
    assert found.differ.value == 0


@pytest.mark.parametrize(("different", "warned"), [(19, True), (20, False)])
def test_few_telling_pairs_are_warned_of(different: int, warned: bool) -> None:
    """The threshold is 20%."""
    pairs = given(*[("yes", "sorry")] * different, *[("yes", "yes")] * (100 - different))
    warning = contrast(pairs, judged).warning
    assert bool(warning) == warned
    if warned:
        assert warning.startswith("only 19 of 100 pairs differ in behaviour, less than 20%")


def test_no_usable_pair_is_warned_of() -> None:
    found = contrast([])
    assert found.differ is None
    assert "no pair" in found.warning


def test_seeds_of_the_two_answers_differ() -> None:
    engine = policy("sl")
    sample_pairs(prompts(4), [engine])
    assert all(one.seed != two.seed for one, two in pairwise(engine.requests))

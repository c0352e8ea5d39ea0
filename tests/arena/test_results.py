"""What the votes say, and the files they become."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.arena.box import Arena
from constitutional.arena.database import Database
from constitutional.arena.export import comparisons_of, write_comparisons, write_votes
from constitutional.arena.order import Orders
from constitutional.arena.pairs import Pool
from constitutional.arena.raters import find_rater, invite
from constitutional.arena.records import CastVote, Choice, Judgement, Pair, Skip
from constitutional.arena.results import results
from constitutional.evaluation.votes import elo_of_votes, read_votes
from constitutional.inputs import load_inputs
from constitutional.recipe import load_recipe

MakePair = Callable[..., Pair]


def for_policy(pair: Pair, policy: str) -> Choice:
    return "a" if pair.a.policy == policy else "b"


def votes_for(pairs: list[Pair], policy: str, rater: str = "r") -> list[CastVote]:
    choices = [for_policy(pair, policy) for pair in pairs]
    return [
        CastVote(rater, pair, choice, "ab")
        for pair, choice in zip(pairs, choices, strict=True)
        if choice != "skip"
    ]


def test_ratings_by_hand(pair: MakePair) -> None:
    """30 wins, 6 losses and 4 ties of 40, and one more tie for the prior: 32.5 to 8.5."""
    pairs = [pair(number) for number in range(40)]
    votes = [
        *votes_for(pairs[:30], "rl_cai"),
        *votes_for(pairs[30:36], "sl_cai"),
        *(CastVote("r", each, "tie", "ab") for each in pairs[36:]),
    ]
    skips = [Skip("s", pairs[0])]
    (found,) = results(pairs, votes, skips).goals
    assert found.elo is not None
    assert (found.goal, found.votes, found.ties, found.skips) == ("harmlessness", 40, 4, 1)
    assert (found.elo.zero, found.elo.prompts) == ("sl_cai", 40)
    assert found.elo.ratings["rl_cai"].value == pytest.approx(400 * math.log10(32.5 / 8.5))


def test_what_cannot_be_rated_is_said_and_not_rated(pair: MakePair) -> None:
    pairs = [pair(0), pair(1, goal="helpfulness", policies=(None, None))]
    harmless, helpful = results(pairs, [], []).goals
    assert harmless.elo is helpful.elo is None
    assert harmless.no_elo == helpful.no_elo == "no votes yet"
    votes = [CastVote("r", each, "a", "ab") for each in pairs]
    harmless, helpful = results(pairs, votes, []).goals
    assert "expected at least two, found 1" in harmless.no_elo
    assert helpful.no_elo == "it is not recorded whose answers these are"


def test_policies_of_several_runs_keep_their_runs_names(pair: MakePair) -> None:
    pairs = [
        *(pair(n, runs=("r1", "r2"), policies=("rl_cai", "rl_cai")) for n in range(3)),
    ]
    (found,) = results(pairs, [CastVote("r", each, "tie", "ab") for each in pairs], []).goals
    assert found.elo is not None
    assert set(found.elo.ratings) == {"demo-0#r1/rl_cai", "demo-0#r2/rl_cai"}


def test_an_arena_counts_again_when_votes_have_changed(tmp_path: Path, pair: MakePair) -> None:
    database = Database.open(tmp_path / "votes.sqlite")
    pairs = tuple(pair(number) for number in range(4))
    arena = Arena(database, Pool(pairs, {}, {}, {}))
    rater = find_rater(database, invite(database, "Ann"))
    assert rater is not None
    before, first = arena.results()
    assert first.goals[0].votes == 0
    for number, each in enumerate(pairs):
        id_ = f"00000000-0000-0000-0000-00000000000{number}"
        arena.cast(Judgement(id_, rater.id, each.id, for_policy(each, "rl_cai"), "ab"))
    after = before
    while after == before:  # it rests a little after each count
        after, second = arena.results()
    elo = second.goals[0].elo
    assert elo is not None and elo.ratings["rl_cai"].value > 0 and elo.unbounded == ("rl_cai",)
    database.close()


def test_votes_come_back_from_the_file_as_they_were_cast(tmp_path: Path, pair: MakePair) -> None:
    pairs = [pair(number) for number in range(6)]
    votes = votes_for(pairs[:4], "rl_cai") + votes_for(pairs[4:], "sl_cai", "s")
    unknown = pair(9, policies=(None, None))
    path = tmp_path / "votes.jsonl"
    found = write_votes(path, [*pairs, unknown], [*votes, CastVote("r", unknown, "a", "ab")])
    assert found == (6, 1)
    (here,) = results(pairs, votes, []).goals
    there = elo_of_votes(read_votes([path]))["harmlessness"]
    assert here.elo is not None and there.ratings == here.elo.ratings


def test_pairs_become_comparisons_with_the_share_of_votes_as_label(pair: MakePair) -> None:
    one, other, tied, harmless = (
        pair(n, goal="helpfulness" if n < 3 else "harmlessness") for n in range(4)
    )
    choices: list[tuple[Pair, Choice]] = [
        *((one, choice) for choice in ("a", "a", "b", "tie")),  # type: ignore[list-item]
        (other, "b"),
        (tied, "tie"),
        (harmless, "a"),
    ]
    votes = [
        CastVote(f"r{n}", each, choice, "ab")
        for n, (each, choice) in enumerate(choices)
        if choice != "skip"
    ]
    found = comparisons_of(votes, "helpfulness")
    assert [(c.prob_a, c.labeller) for c in found] == [
        (pytest.approx(2 / 3), "4 human votes"),
        (0.0, "1 human vote"),
        (None, "1 human vote"),
    ]
    assert (found[0].a, found[0].b, found[0].prompt) == (one.a.text, one.b.text, one.prompt)


def test_a_recipe_reads_the_votes_as_human_helpfulness(
    tmp_path: Path, pair: MakePair, small_recipe: Callable[..., Path]
) -> None:
    """The file goes where a recipe's ``rl.helpfulness`` points, through all that a run reads."""
    texts = ("To carry your chair, use a strong bag.", "I do not know what to say.")
    asked = "How do I carry my chair?"
    pairs = [pair(n, goal="helpfulness", texts=texts, asked=asked) for n in range(3)]
    path = tmp_path / "votes.jsonl"
    votes = [
        CastVote("r", each, "a" if each.a.text == texts[0] else "b", "ab") for each in pairs[:2]
    ]
    votes.append(CastVote("r", pairs[2], "tie", "ab"))
    written = write_comparisons(path, votes, "helpfulness")
    assert written == (2, 1)
    red_team = {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 2}
    helpful = {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 2}
    recipe = small_recipe(
        rl={
            "comparisons": red_team,
            "helpfulness": {"file": str(path)},
            "red_team": dict(red_team),
            "helpful": helpful,
        }
    )
    read = load_inputs(load_recipe(recipe), recipe.parent).rl
    assert read is not None
    found = list(read.helpfulness.comparisons)
    assert len(found) == 2
    for comparison in found:
        better = comparison.a if comparison.prob_a == 1 else comparison.b
        assert (better, comparison.goal, comparison.labeller) == (
            texts[0],
            "helpfulness",
            "1 human vote",
        )


def test_orders_are_everybodys_own_but_for_every_fifth_pair(pair: MakePair) -> None:
    pairs = [pair(number) for number in range(50)]
    orders = Orders(pairs, "harmlessness", seed=1)
    ann, ben = ([each.id for each in orders.of(rater)] for rater in (1, 2))
    assert sorted(ann) == sorted(ben) == sorted(each.id for each in pairs)
    assert ann != ben
    assert len({*ann[:10]} & {*ben[:10]}) >= 2, "places 5 and 10 are shared"
    assert ann[4] == ben[4]
    again = Orders(list(reversed(pairs)), "harmlessness", seed=1)
    assert [each.id for each in again.of(1)] == ann
    other = Orders(pairs, "harmlessness", seed=2)
    assert [each.id for each in other.of(1)] != ann
    first = sum(orders.shown(rater, each) == "ab" for rater in range(10) for each in pairs)
    # 500 draws of one half: 5 deviations of 11.2 on either side
    assert 194 < first < 306

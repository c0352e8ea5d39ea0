"""Which pairs an arena asks about, from the records of real run folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.web_runs import REFUSAL, add_records, answer, comparison, sample, write_run

from constitutional.arena.opening import open_arena
from constitutional.arena.pairs import mark_of, pairs_of_answers, pairs_of_comparisons
from constitutional.arena.records import Pair
from constitutional.dialogue import Conversation
from constitutional.errors import InputError
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.reading import Run
from constitutional.runs import RunFolder
from constitutional.runs.records import Answer

HARMLESS = Verdict(harmful_request=False, behaviour=Behaviour.HELPS, harm=0)


def said(policy: str, number: int) -> Answer:
    """Every second prompt is harmless; the answers to the first two are everybody's."""
    changes: dict[str, Any] = {} if number % 2 else {"verdict": HARMLESS}
    text = REFUSAL if number < 2 else f"{policy} says {number}"
    return answer(policy, number, text, **changes)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    policies = ("helpful", "sl_cai", "rl_cai", "rl_cai@4")
    answers = {
        policy.replace("@", "-step-"): [said(policy, number) for number in range(10)]
        for policy in policies
    }
    return Run(write_run(tmp_path / "run", answers=answers))


def asked(pairs: tuple[Pair, ...]) -> set[tuple[str, str, frozenset[str | None]]]:
    return {(p.goal, p.prompt_id, frozenset({p.a.policy, p.b.policy})) for p in pairs}


def test_all_final_policies_meet_on_all_prompts_by_the_goal_of_each(run: Run) -> None:
    pool = pairs_of_answers([run])
    met = [{"helpful", "sl_cai"}, {"helpful", "rl_cai"}, {"sl_cai", "rl_cai"}]
    expected = {
        ("helpfulness" if number % 2 == 0 else "harmlessness", f"prompt-{number}", frozenset(two))
        for number in range(2, 10)
        for two in met
    }
    assert asked(pool.pairs) == expected
    assert len(pool.pairs) == len(expected)
    assert dict(pool.same) == {"helpfulness": 3, "harmlessness": 3}
    assert dict(pool.found) == dict(pool.asked) == {"helpfulness": 5, "harmlessness": 5}
    one = next(p for p in pool.pairs if p.prompt_id == "prompt-3")
    assert {one.a.text, one.b.text} == {f"{p} says 3" for p in (one.a.policy, one.b.policy)}
    assert one.prompt == said("helpful", 3).prompt


def test_snapshots_meet_when_they_are_named(run: Run) -> None:
    pool = pairs_of_answers([run], policies=["rl_cai@4", "rl_cai"])
    assert {frozenset({p.a.policy, p.b.policy}) for p in pool.pairs} == {
        frozenset({"rl_cai@4", "rl_cai"})
    }


def test_more_prompts_than_wanted_are_drawn_by_the_seed(run: Run) -> None:
    first, second, other = (pairs_of_answers([run], prompts=2, seed=seed) for seed in (0, 0, 5))
    assert dict(first.asked) == {"helpfulness": 2, "harmlessness": 2}
    assert dict(first.found) == {"helpfulness": 5, "harmlessness": 5}
    assert asked(first.pairs) == asked(second.pairs) != asked(other.pairs)


def test_policies_of_two_runs_meet_where_the_prompts_are_the_same(run: Run, tmp_path: Path) -> None:
    there = [said("rl_cai", number) for number in range(4, 8)]
    changed = there[0].model_copy(update={"prompt": Conversation.of("Something else?")})
    other = Run(
        write_run(tmp_path / "other", name="other", answers={"rl_cai": [changed, *there[1:]]})
    )
    assert mark_of(run) != mark_of(other)
    pool = pairs_of_answers([run, other], policies=["rl_cai", "sl_cai"])
    across = [p for p in pool.pairs if p.a.run != p.b.run]
    # prompt 4 is another there, and of prompts 5 to 7 RL-CAI says the same in both runs
    assert {(p.prompt_id, frozenset({p.a.policy, p.b.policy})) for p in across} == {
        (f"prompt-{number}", frozenset({"sl_cai", "rl_cai"})) for number in (5, 6, 7)
    }


def test_without_a_judge_the_recipes_files_say_what_asks_for_harm(
    tmp_path: Path, small_recipe: Callable[..., Path]
) -> None:
    files = {
        kind: {"file": f"microworld:prompts/evaluation_{kind}.jsonl", "limit": 3}
        for kind in ("red_team", "helpful")
    }
    from constitutional.inputs.data import DataReader
    from constitutional.recipe import load_recipe

    asked_of = load_recipe(small_recipe(evaluation=files))
    assert asked_of.evaluation is not None
    reader = DataReader(asked_of.seed, tmp_path)
    prompts = [
        *reader.prompts(asked_of.evaluation.red_team, "red_team", "evaluation.red_team"),
        *reader.prompts(asked_of.evaluation.helpful, "helpful", "evaluation.helpful"),
    ]
    folder = tmp_path / "run"
    with RunFolder.open(folder, asked_of.model_dump(mode="json"), command="cai run x") as open_run:
        for policy in ("helpful", "sl_cai"):
            records = [
                answer(policy, 0, policy, id=p.id, prompt=p.conversation, verdict=None)
                for p in prompts
            ]
            add_records(open_run, f"answers_{policy}", records)
    pool = pairs_of_answers([Run(folder)])
    goals = {pair.prompt_id: pair.goal for pair in pool.pairs}
    assert goals == {
        p.id: "harmlessness" if p.kind == "red_team" else "helpfulness" for p in prompts
    }


def test_a_run_with_one_policy_or_none_has_no_arena(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path / "run", answers={"sl_cai": [said("sl_cai", 3)]}))
    with pytest.raises(InputError, match="answers of two policies, found those of: sl_cai"):
        pairs_of_answers([run])
    with pytest.raises(InputError, match="found those of: none"):
        pairs_of_answers([run], policies=["nobody"])
    with pytest.raises(InputError, match="holds no comparisons yet"):
        pairs_of_comparisons(run)


def test_comparisons_are_asked_by_their_own_goals_and_name_nobody(tmp_path: Path) -> None:
    pairs = [
        comparison(0),
        comparison(1, goal="helpfulness", a="one", b="another"),
        comparison(2, a="same", b="same"),
    ]
    run = Run(write_run(tmp_path / "run", comparisons={"comparisons_ai": pairs}))
    pool = pairs_of_comparisons(run)
    assert asked(pool.pairs) == {
        ("harmlessness", "pair-0", frozenset({None})),
        ("helpfulness", "pair-1", frozenset({None})),
    }
    assert dict(pool.same) == {"harmlessness": 1}


def test_an_arena_without_anything_to_judge_is_refused(tmp_path: Path) -> None:
    same = [answer("x", 3)]
    answers = {name: [a.model_copy(update={"policy": name}) for a in same] for name in "ab"}
    run = Run(write_run(tmp_path / "run", answers=answers))
    with pytest.raises(InputError, match="all answers to the same prompt are the same"):
        open_arena([run], str(tmp_path / "votes.sqlite"))
    with pytest.raises(InputError, match="name one run and no policy"):
        open_arena([run, run], str(tmp_path / "votes.sqlite"), pairs="comparisons")
    assert not (tmp_path / "votes.sqlite").exists()


def test_a_text_may_be_anything(tmp_path: Path) -> None:
    answers = {
        "a": [answer("a", 3, sample=sample("half \ud800 a character"))],
        "b": [answer("b", 3, sample=sample("null \x00"))],
    }
    run = Run(write_run(tmp_path / "run", answers=answers))
    arena = open_arena([run], str(tmp_path / "votes.sqlite"))
    assert {arena.pool.pairs[0].a.text, arena.pool.pairs[0].b.text} == {
        "half \ud800 a character",
        "null \x00",
    }
    arena.database.close()

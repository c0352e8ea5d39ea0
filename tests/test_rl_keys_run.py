"""``cai run`` with what the studies vary in the RL stage, each beside its plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constitutional.dialogue import Conversation
from constitutional.microworld.human import Human
from constitutional.planning.reading import plan_recipe
from constitutional.recipe import load_recipe
from constitutional.runs import read_records
from constitutional.runs.records import Comparison
from constitutional.stages.shares import limited

Cai = Callable[..., tuple[int, str, str]]

RL: dict[str, Any] = {
    "comparisons": {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 32},
    "pairs": {"max_new_tokens": 48},
    "feedback": {"few_shots": 0},
    "helpfulness": None,
    "held_out": 0.3,
    "preference": {"learning_rate": 3e-4, "batch_size": 4, "checkpoint_steps": 10},
    "red_team": {"file": "microworld:prompts/rl_red_team.jsonl", "limit": 16},
    "helpful": {"file": "microworld:prompts/rl_helpful.jsonl", "limit": 16},
    "ppo": {
        "steps": 1,
        "batch_size": 8,
        "minibatch_size": 4,
        "epochs": 1,
        "max_new_tokens": 40,
    },
}


def comparison(number: int, goal: str) -> Comparison:
    return Comparison(
        id=f"{goal}-{number}",
        prompt=Conversation.of(f"How do I do {number}?"),
        a="Yes.",
        b="No.",
        goal=goal,  # type: ignore[arg-type]
        labeller="test",
        prob_a=1.0,
    )


def test_people_label_the_pairs_of_the_policy_that_rl_begins_from(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """No supervised stage, no helpfulness comparisons, and two arms that differ in who labels."""
    out = tmp_path / "run"
    preference = {**RL["preference"], "limit": 6}
    arms = {"arms": ["rl_cai", "rl_human"], "begins_from": "helpful", "contrast": "pretrained"}
    path = small_recipe(rl={**RL, **arms, "preference": preference})
    plan = plan_recipe(load_recipe(path), path.parent)
    code, shown, told = cai("run", path, "--out", out)
    assert code == 0, told
    assert {stage.name for stage in plan.stages} == {p.name for p in (out / "stages").iterdir()}
    assert "comparisons_helpfulness" not in {stage.name for stage in plan.stages}

    ai, human = (
        list(read_records(out / f"stages/comparisons_{by}", Comparison)) for by in ("ai", "human")
    )
    assert [(c.id, c.a, c.b) for c in ai] == [(c.id, c.a, c.b) for c in human]
    assert {c.prob_a for c in human} <= {0.0, 1.0, None}
    people = Human()
    for c in human:
        if c.prob_a is not None:
            assert people.prefer_harmless(c.prompt, c.a, c.b) == ("a" if c.prob_a else "b")

    def inputs(stage: str) -> dict[str, str]:
        found: dict[str, str] = json.loads((out / "stages" / stage / "stage.json").read_text())[
            "inputs"
        ]
        return found

    made = json.loads((out / "run.json").read_text())["inputs"]
    assert inputs("rl_cai")["policy"] == inputs("rl_human")["policy"] == made["helpful"]
    # the feedback model is the first engine; then who answers: the helpful model, the pretrained
    asked = inputs("comparisons_ai")
    assert asked["engine 2"] == inputs("comparisons_human")["engine"]
    assert asked["engine 2"] == inputs("answers_helpful")["engine"]
    assert asked["engine 3"] == asked["engine"]

    metrics = json.loads((out / "metrics.json").read_text())
    mine, theirs = metrics["arms"]["rl_cai"], metrics["arms"]["rl_human"]
    assert mine["begins_from"] == theirs["begins_from"] == "helpful"
    assert theirs["labeller"] == "oracle as human" and theirs["labels"] is None
    assert mine["labeller"] != theirs["labeller"] and mine["labels"]["unreadable"] == 0
    assert [at["policy"] for at in theirs["along"]] == ["helpful", "rl_human"]
    for arm in ("rl_cai", "rl_human"):
        report = out / f"stages/preference_model_{arm}/result/preference_training.json"
        assert json.loads(report.read_text())["comparisons"] == 6
    # the first step's answers are of the policy that is also the reference
    assert theirs["training"]["history"][0]["kl_k1"] == pytest.approx(0, abs=1e-4)
    assert "RL, human labels, harmlessness: labelled by oracle as human" in shown.replace("\n", " ")


def test_preference_models_without_a_policy(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    path = small_recipe(rl={**RL, "policy": False})
    plan = plan_recipe(load_recipe(path), path.parent)
    code, shown, told = cai("run", path, "--out", out)
    assert code == 0, told
    assert {stage.name for stage in plan.stages} == {p.name for p in (out / "stages").iterdir()}
    assert "preference_model_rl_cai" in {stage.name for stage in plan.stages}
    assert not (out / "stages/rl_cai").exists()
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["policies"]) == {"pretrained", "helpful", "sl_cai"}
    arm = metrics["arms"]["rl_cai"]
    assert arm["preference_model"]["harmlessness_accuracy"]["n"] > 0
    assert "training" not in arm and arm["begins_from"] == "sl_cai"
    assert "labelled by" in shown
    code, _, told = cai("report", out)
    assert code == 0, told
    assert "no policy" in (out / "report.html").read_text()


def test_a_limit_takes_so_many_of_each_goal_and_a_larger_one_takes_them_too() -> None:
    given = [comparison(n, "harmlessness") for n in range(40)]
    given += [comparison(n, "helpfulness") for n in range(5)]
    small, large = (limited(given, limit, 0) for limit in (8, 20))
    assert [c.goal for c in small] == ["harmlessness"] * 8 + ["helpfulness"] * 5
    assert [c.goal for c in large] == ["harmlessness"] * 20 + ["helpfulness"] * 5
    assert {c.id for c in small} < {c.id for c in large}
    assert [c.id for c in small] == [c.id for c in given if c in list(small)], "order is kept"
    assert {c.id for c in limited(given, 8, 1)} != {c.id for c in small}
    assert limited(given, None, 0) is given


def test_the_plan_knows_the_limit(small_recipe: Callable[..., Path]) -> None:
    def trained(limit: int | None) -> tuple[float, float, float]:
        preference = {**RL["preference"], "epochs": 1, "limit": limit}
        path = small_recipe(rl={**RL, "policy": False, "preference": preference})
        plan = plan_recipe(load_recipe(path), path.parent)
        stage = next(s for s in plan.stages if s.name == "preference_model_rl_cai")
        return stage.trained_tokens.ends

    whole, some = trained(None), trained(4)
    assert trained(1000) == whole
    # 32 comparisons of which 70% are trained on, and of these 4
    assert some[1] == pytest.approx(whole[1] * 4 / (32 * 0.7 * 0.75))


def test_what_does_not_go_together_is_refused(cai: Cai, small_recipe: Callable[..., Path]) -> None:
    missing = {k: v for k, v in RL.items() if k != "helpfulness"}
    engine = {"engine": "transformers", "model": "microworld:helpful"}
    models = {"pretrained": "microworld:pretrained", "helpful": "other"}
    finetune = {"snapshot_steps": 2}
    helpful = {**RL, "begins_from": "helpful"}
    for changes, says in (
        ({"rl": missing}, "helpfulness"),
        ({"rl": {**RL, "arms": "helpful_rlhf"}}, "'helpfulness' is null"),
        ({"rl": {**RL, "arms": "rl_human", "comparisons": None}}, "rl_human needs 'comparisons'"),
        ({"rl": {**RL, "begins_from": "sft"}}, "begins_from"),
        ({"rl": {**helpful, "arms": "hh_rlhf", "harmlessness": {"file": "f"}}}, "is for rl_cai"),
        ({"rl": {**helpful, "contrast": "snapshots"}, "finetune": finetune}, "are SL-CAI's"),
        ({"rl": helpful, "models": models, "engines": {"other": engine}}, "is an engine"),
        ({"rl": {**RL, "preference": {"limit": 0}}}, "limit"),
    ):
        code, _, told = cai("run", small_recipe(**changes))
        assert code == 2, says
        assert says in told, told
        assert "recipe.yaml, line " in told

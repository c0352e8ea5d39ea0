"""``cai run`` with an RL stage on the embedded microworld: small, whole, and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from constitutional.inputs import load_inputs
from constitutional.microworld import data_file
from constitutional.recipe import load_recipe
from constitutional.runs import read_records
from constitutional.runs.records import Comparison

Cai = Callable[..., tuple[int, str, str]]
HERE = Path(__file__).parent

RL: dict[str, Any] = {
    "comparisons": {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 24},
    "contrast": "helpful",
    "pairs": {"max_new_tokens": 48},
    "feedback": {"orders": "both", "few_shots": 0},
    "helpfulness": {
        "prompts": {"file": "microworld:prompts/preference_helpful.jsonl", "limit": 24}
    },
    "held_out": 0.3,
    "held_out_model": True,
    "preference": {"learning_rate": 3e-4, "batch_size": 8, "checkpoint_steps": 2},
    "red_team": {"file": "microworld:prompts/rl_red_team.jsonl", "limit": 16},
    "helpful": {"file": "microworld:prompts/rl_helpful.jsonl", "limit": 16},
    "ppo": {
        "steps": 2,
        "batch_size": 8,
        "minibatch_size": 4,
        "epochs": 1,
        "max_new_tokens": 40,
        "checkpoint_steps": 1,
        "snapshot_steps": 1,
    },
}


def test_the_rl_stage_from_labels_to_elo(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, shown, told = cai("run", small_recipe(rl=RL), "--out", out)
    assert code == 0, told
    assert "RL-CAI" in shown
    assert "Elo, SL-CAI at 0" in shown

    ai = list(read_records(out / "stages/comparisons_ai", Comparison))
    assert len(ai) == 24
    assert all(len(c.readings) == 2 and c.goal == "harmlessness" for c in ai)
    assert all(0 < c.prob_a < 1 for c in ai if c.prob_a is not None), "labels are soft"
    human = list(read_records(out / "stages/comparisons_helpfulness", Comparison))
    assert {c.labeller for c in human} == {"oracle as human"}
    assert {c.prob_a for c in human} <= {0.0, 1.0, None}
    assert all(c.goal == "helpfulness" for c in human), "no human label for harm"

    metrics = json.loads((out / "metrics.json").read_text())
    policies = {"pretrained", "helpful", "sl_cai", "rl_cai@1", "rl_cai"}
    assert set(metrics["elo"]["harmlessness"]) == policies
    arm = metrics["arms"]["rl_cai"]
    assert arm["labels"]["accuracy"]["n"] > 0
    assert arm["labels"]["unreadable"] == 0
    assert 0 <= arm["preference_model"]["harmlessness_accuracy"]["value"] <= 1
    assert [at["policy"] for at in arm["along"]] == ["sl_cai", "rl_cai@1", "rl_cai"]
    assert all(e["reward_held_out"] is not None for e in arm["training"]["history"])
    training = json.loads((out / "stages/rl_cai/result/training.json").read_text())
    assert [entry["step"] for entry in training["history"]] == [1, 2]
    assert training["ended"] == "all steps done"
    for folder in ("stages/rl_cai/result", "stages/rl_cai/result/snapshots/step-1"):
        assert (out / folder / "model.safetensors").exists()

    from transformers import AutoModelForSequenceClassification

    scorer = AutoModelForSequenceClassification.from_pretrained(
        out / "stages/preference_model_rl_cai/result"
    )
    assert scorer.config.num_labels == 1

    code, _, told = cai("run", small_recipe(rl=RL), "--out", out)
    assert code == 0
    assert "PPO" not in told, "nothing that is done is done again"


def ranked(folder: Path) -> str:
    """A file with a few ranked answers: of all, a run tokenises more than it trains on."""
    with data_file("prompts/ranked_answers.jsonl").open() as file:
        (folder / "ranked.jsonl").write_text("".join(islice(file, 16)))
    return str(folder / "ranked.jsonl")


def test_kills_in_the_middle_of_each_training_change_nothing(
    small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """``kill -9`` at the first checkpoint of each training of the RL stage; then to the end."""
    pmp = {"file": ranked(tmp_path), "binarise": False}
    often = {"learning_rate": 3e-4, "batch_size": 4, "checkpoint_steps": 1}
    ppo = {**RL["ppo"], "steps": 4}
    given = {**RL, "pmp": {**pmp, **often}, "preference": often, "ppo": ppo}
    recipe = small_recipe(rl=given, evaluation=None)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    checkpoints = (
        "stages/preference_pretraining/work/checkpoint-*/complete",
        "stages/preference_model_rl_cai/work/checkpoint-*/complete",
        "stages/preference_model_rl_cai_held_out/work/checkpoint-*/complete",
        "stages/rl_cai/work/ppo/step-1/state.json",
        "stages/rl_cai/work/ppo/step-3/state.json",
    )
    script = [sys.executable, str(HERE / "killed_run.py"), recipe, whole, killed, "0"]
    done = subprocess.run([*script, *checkpoints], check=True, capture_output=True)
    assert done.stdout.split()[-1] == b"5"

    def made(run: Path) -> dict[str, bytes]:
        wanted = {"records.jsonl", "model.safetensors"}
        files = sorted(path for path in run.rglob("*") if path.name in wanted)
        return {str(path.relative_to(run)): path.read_bytes() for path in files}

    assert "stages/rl_cai/result/model.safetensors" in made(whole)
    assert made(killed) == made(whole)


def test_snapshots_of_sl_cai_answer_beside_it(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    finetune = {"learning_rate": 3e-4, "batch_size": 8, "snapshot_steps": 4}
    given = {**RL, "contrast": ["snapshots"], "held_out_model": False}
    out = tmp_path / "run"
    recipe = small_recipe(rl=given, finetune=finetune, evaluation=None)
    code, _, told = cai("run", recipe, "--out", out)
    assert code == 0, told
    stages = out / "stages"
    kept = sorted(path.name for path in (stages / "sl_cai/result/snapshots").iterdir())
    assert kept == ["step-4", "step-8"]
    asked = json.loads((stages / "comparisons_ai/stage.json").read_text())["inputs"]
    writers = {asked[name] for name in ("engine 2", "engine 3", "engine 4")}
    assert len(writers) == 3, "SL-CAI and both snapshots answer"
    assert "engine 5" not in asked


def test_the_baselines_learn_from_human_labels(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    harmful = {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 24}
    arms = ["rl_cai_cot", "helpful_rlhf", "hh_rlhf"]
    out = tmp_path / "run"
    given = {**RL, "arms": arms, "harmlessness": {"prompts": harmful}, "held_out_model": False}
    given["held_out"] = 0.5
    given["pmp"] = {
        "file": ranked(tmp_path),
        "binarise": False,
        "epochs": 2,
        "learning_rate": 1e-3,
    }
    evaluation = {
        "red_team": {"file": "microworld:prompts/evaluation_red_team.jsonl", "limit": 16},
        "helpful": {"file": "microworld:prompts/evaluation_helpful.jsonl", "limit": 16},
        "judge": "microworld",
        "harm_score": {
            "prompts": dict(harmful),
            "training": {"learning_rate": 1e-3, "batch_size": 8},
        },
        "ai_judge": {"model": "pretrained", "few_shots": 0, "goals": ["harmlessness"]},
        "max_new_tokens": 48,
    }
    code, _, told = cai("run", small_recipe(rl=given, evaluation=evaluation), "--out", out)
    assert code == 0, told
    assert told.count("Preference model pretraining:") >= 1
    metrics = json.loads((out / "metrics.json").read_text())
    harm = metrics["harm_score"]
    assert set(harm["policies"]) == set(metrics["policies"])
    assert harm["policies"]["helpful"]["mean"]["n"] == 16
    assert harm["report"]["n"] > 0
    assert set(metrics["arms"]) == set(arms)
    assert metrics["arms"]["hh_rlhf"]["labels"] is None
    assert metrics["arms"]["helpful_rlhf"]["along"][0]["policy"] == "pretrained"
    assert metrics["arms"]["rl_cai_cot"]["along"][0]["policy"] == "sl_cai"

    judged = metrics["ai_judge"]
    final = {name for name in metrics["policies"] if "@" not in name}
    assert set(judged["elo"]) == {"harmlessness"}
    assert set(judged["elo"]["harmlessness"]) == final
    told_apart = judged["harmlessness"]
    assert told_apart["unreadable"] == 0
    assert told_apart["pairings"] == 16 * len(final) * (len(final) - 1) / 2

    goals = {name: goals_in(out, f"preference_model_{name}") for name in arms}
    assert goals == {
        "rl_cai_cot": {"harmlessness", "helpfulness"},
        "helpful_rlhf": {"helpfulness"},
        "hh_rlhf": {"harmlessness", "helpfulness"},
    }
    reasoned = list(read_records(out / "stages/comparisons_ai_cot", Comparison))
    assert all(r.reasoning is not None for c in reasoned for r in c.readings)
    labels = [c.prob_a for c in reasoned if c.prob_a is not None]
    assert all(0.4 <= label <= 0.6 for label in labels), "chain-of-thought labels are clamped"
    human = list(read_records(out / "stages/comparisons_harmlessness", Comparison))
    assert {c.labeller for c in human} == {"oracle as human"}


def goals_in(out: Path, stage: str) -> set[str]:
    metrics = json.loads((out / "metrics.json").read_text())
    report = metrics["arms"][stage.removeprefix("preference_model_")]["preference_model"]["report"]
    return set(report["goals"])


def test_rl_from_human_feedback_needs_no_constitution(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    demonstrations = tmp_path / "demonstrations.jsonl"
    row = {
        "prompt": "How do I wash my dog?",
        "completion": "You can wash your dog with warm water.",
    }
    demonstrations.write_text(f"{json.dumps(row)}\n" * 20)
    harmful = {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 24}
    rl = {k: v for k, v in RL.items() if k not in ("comparisons", "feedback", "contrast")}
    recipe = small_recipe(
        constitution=None,
        prompts=None,
        models={"pretrained": "microworld:pretrained", "batch_size": 32},
        demonstrations=str(demonstrations),
        rl={**rl, "arms": "hh_rlhf", "harmlessness": {"prompts": harmful}},
    )
    out = tmp_path / "run"
    code, _, told = cai("run", recipe, "--out", out)
    assert code == 0, told
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["policies"]) == {"pretrained", "sft", "hh_rlhf@1", "hh_rlhf"}
    assert metrics["arms"]["hh_rlhf"]["along"][0]["policy"] == "sft"
    assert metrics["elo"]["harmlessness"]["sft"]["value"] == 0


def test_a_wrong_rl_section_is_refused(cai: Cai, small_recipe: Callable[..., Path]) -> None:
    for changes, says in (
        ({"helpfulness": {}}, "need either 'file' (or 'preset') or 'prompts'"),
        ({"ppo": {"batch_size": 10, "minibatch_size": 4}}, "must be a multiple of minibatch_size"),
        ({"feedback": {"clamp": [0.4, 0.6]}}, "'cot' is off"),
        ({"cot_feedback": {"clamp": None}}, "not in arms"),
        ({"cot_feedback": {"cot": False}, "arms": ["rl_cai_cot"]}, "needs cot"),
        ({"arms": ["rl_cai", "rl_cai"]}, "'arms' names one twice"),
        ({"arms": "hh_rlhf"}, "hh_rlhf needs 'harmlessness'"),
        ({"comparisons": None}, "RL-CAI needs 'comparisons'"),
        ({"contrast": "snapshots"}, "needs 'prompts' and 'snapshot_steps'"),
    ):
        code, _, told = cai("run", small_recipe(rl={**RL, **changes}))
        assert code == 2
        assert says in told
        assert "recipe.yaml, line " in told


def test_a_model_that_the_recipe_does_not_name_is_refused(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    demonstrations = tmp_path / "demonstrations.jsonl"
    demonstrations.write_text('{"prompt": "How do I wash my dog?", "completion": "Use water."}\n')
    rl = {k: v for k, v in RL.items() if k not in ("comparisons", "feedback")}
    recipe = small_recipe(
        constitution=None,
        prompts=None,
        models={"pretrained": "microworld:pretrained"},
        demonstrations=str(demonstrations),
        rl={**rl, "contrast": "helpful", "arms": "helpful_rlhf"},
    )
    code, _, told = cai("run", recipe, "--out", tmp_path / "out")
    assert code == 2
    assert "the recipe speaks of the helpful model, and its 'models' name none" in told


def test_demonstrations_have_no_revisions(cai: Cai, small_recipe: Callable[..., Path]) -> None:
    rl = {k: v for k, v in RL.items() if k not in ("comparisons", "feedback", "contrast")}
    recipe = small_recipe(
        constitution=None,
        prompts=None,
        models={"pretrained": "microworld:pretrained"},
        demonstrations="microworld:prompts/demonstrations.jsonl",
        finetune={"revisions": "last"},
        rl={**rl, "arms": "helpful_rlhf"},
    )
    code, _, told = cai("run", recipe)
    assert code == 2
    assert "demonstrations have none" in told


def test_an_ai_judge_must_know_the_words_it_judges_by(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    evaluation = {
        "red_team": {"file": "microworld:prompts/evaluation_red_team.jsonl", "limit": 4},
        "helpful": {"file": "microworld:prompts/evaluation_helpful.jsonl", "limit": 4},
        "ai_judge": {"model": "pretrained"},
    }
    recipe = small_recipe(evaluation=evaluation)
    code, _, told = cai("run", recipe, "--out", tmp_path / "out")
    assert code == 2
    assert "the AI judge cannot read what it is to judge helpfulness by" in told
    assert "'goals: [harmlessness]'" in told


def test_rows_that_are_left_out_are_said(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    pairs, rated = tmp_path / "pairs.jsonl", tmp_path / "rated.jsonl"
    asked = "\n\nHuman: How do I wash my dog?\n\nAssistant: "
    rows = [(f"{asked}Use soap.", f"{asked}No."), (f"{asked}No.", f"{asked}No.")]
    pairs.write_text("".join(json.dumps({"chosen": a, "rejected": b}) + "\n" for a, b in rows))
    ratings = [{"transcript": f"{asked}No.", "rating": 1}, {"transcript": asked, "rating": 2}]
    rated.write_text("".join(json.dumps(row) + "\n" for row in ratings))
    evaluation = {
        "red_team": {"file": "microworld:prompts/evaluation_red_team.jsonl", "limit": 4},
        "helpful": {"file": "microworld:prompts/evaluation_helpful.jsonl", "limit": 4},
        "harm_score": {"file": str(rated)},
    }
    recipe = load_recipe(
        small_recipe(rl={**RL, "helpfulness": {"file": str(pairs)}}, evaluation=evaluation)
    )
    notes = load_inputs(recipe, tmp_path).notes
    assert "rl.helpfulness: rows left out: 1 (the answers are the same)" in notes
    assert any(note.startswith("evaluation.harm_score: rows left out: 1 (") for note in notes)


def test_ppo_shares_one_base_where_all_were_trained_with_adapters_on_it(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    lora = {"rank": 2}
    few = {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 12}
    rl = RL | {
        "comparisons": few,
        "contrast": [],
        "preference": RL["preference"] | {"lora": dict(lora)},
        "ppo": RL["ppo"] | {"lora": dict(lora), "steps": 1, "max_new_tokens": 8},
    }
    recipe = small_recipe(
        rl=rl,
        finetune={"learning_rate": 3e-4, "batch_size": 8, "lora": lora},
        supervised={"rounds": 1, "critique": False, "few_shots": 0, "max_new_tokens": 16},
        evaluation=None,
    )
    out = tmp_path / "run"
    code, _, told = cai("run", recipe, "--out", out)
    assert code == 0, told
    form = "one base in memory, with adapters for policy, reference, critic and preference model"
    assert f"Note: PPO has {form}." in told.splitlines()
    result = out / "stages/rl_cai/result"
    assert json.loads((result / "training.json").read_text())["networks"] == form
    scorer = "preference_model_rl_cai"
    stages = [out / "stages" / name for name in ("sl_cai", scorer, f"{scorer}_held_out", "rl_cai")]
    marks = [(stage / "result/adapter/adapter_base.json").read_text() for stage in stages]
    assert len({json.loads(mark)["fingerprint"] for mark in marks}) == 1

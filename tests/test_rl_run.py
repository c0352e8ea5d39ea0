"""``cai run`` with an RL stage on the embedded microworld: small, whole, and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from constitutional.runs import read_records
from constitutional.runs.records import Comparison

Cai = Callable[..., tuple[int, str, str]]

RL = {
    "comparisons": {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 24},
    "contrast": "helpful",
    "pairs": {"max_new_tokens": 48},
    "feedback": {"orders": "both", "few_shots": 0},
    "helpfulness": {
        "prompts": {"file": "microworld:prompts/preference_helpful.jsonl", "limit": 24}
    },
    "held_out": 0.3,
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
    human = list(read_records(out / "stages/comparisons_human", Comparison))
    assert {c.labeller for c in human} == {"oracle as human"}
    assert {c.prob_a for c in human} <= {0.0, 1.0, None}
    assert all(c.goal == "helpfulness" for c in human), "no human label for harm"

    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["elo"]["harmlessness"]) == {"pretrained", "helpful", "sl_cai", "rl_cai"}
    assert metrics["labels"]["accuracy"]["n"] > 0
    assert metrics["labels"]["unreadable"] == 0
    assert 0 <= metrics["preference_model"]["harmlessness_accuracy"]["value"] <= 1
    ppo = json.loads((out / "stages/rl_cai/result/ppo.json").read_text())
    assert [entry["step"] for entry in ppo["history"]] == [1, 2]
    assert ppo["ended"] == "all steps done"
    for folder in ("stages/rl_cai/result", "stages/rl_cai/result/snapshots/step-1"):
        assert (out / folder / "model.safetensors").exists()

    from transformers import AutoModelForSequenceClassification

    scorer = AutoModelForSequenceClassification.from_pretrained(
        out / "stages/preference_model/result"
    )
    assert scorer.config.num_labels == 1

    code, _, told = cai("run", small_recipe(rl=RL), "--out", out)
    assert code == 0
    assert "PPO" not in told, "nothing that is done is done again"


def test_a_wrong_rl_section_is_refused(cai: Cai, small_recipe: Callable[..., Path]) -> None:
    for changes, says in (
        ({"helpfulness": {}}, "needs either 'file' or 'prompts'"),
        ({"ppo": {"batch_size": 10, "minibatch_size": 4}}, "must be a multiple of minibatch_size"),
        ({"feedback": {"clamp": [0.4, 0.6]}}, "'cot' is off"),
        ({"contrast": "sl"}, "'contrast' must be 'helpful'"),
    ):
        code, _, told = cai("run", small_recipe(rl={**RL, **changes}))
        assert code == 2
        assert says in told
        assert "recipe.yaml, line " in told

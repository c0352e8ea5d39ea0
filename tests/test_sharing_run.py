"""``cai run --share``: what is taken from another run is, byte for byte, what would be made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from test_rl_run import RL
from test_run import stage_files

Cai = Callable[..., tuple[int, str, str]]
EVALUATION = {
    "red_team": {"file": "microworld:prompts/evaluation_red_team.jsonl", "limit": 4},
    "helpful": {"file": "microworld:prompts/evaluation_helpful.jsonl", "limit": 4},
    "judge": "microworld",
    "max_new_tokens": 48,
}


def without_times(found: Any) -> Any:
    """Everything but seconds, also those that a training tells of itself."""
    if isinstance(found, list):
        return [without_times(inner) for inner in found]
    if not isinstance(found, dict):
        return found
    return {key: without_times(inner) for key, inner in found.items() if "seconds" not in key}


@pytest.mark.slow
def test_runs_that_differ_in_rl_share_all_before_it(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    def run(name: str, *words: str | Path, **ppo: Any) -> str:
        rl = {**RL, "held_out_model": False, "ppo": {**RL["ppo"], **ppo}}
        recipe = small_recipe(rl=rl, evaluation=EVALUATION)
        code, _, told = cai("run", recipe, "--out", tmp_path / name, *words)
        assert code == 0, told
        return told

    shared = tmp_path / "shared"
    assert "taken from" not in run("a", "--share", shared)
    told = run("b", "--share", shared, learning_rate=1e-4)
    run("alone", learning_rate=1e-4)
    assert stage_files(tmp_path / "b") == stage_files(tmp_path / "alone")
    metrics = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("b", "alone")]
    assert without_times(metrics[0]) == without_times(metrics[1])
    taken = set(re.findall(r"Stage (\S+): taken from", told))
    made = {path.name for path in (tmp_path / "b/stages").iterdir()} - taken
    assert made == {"rl_cai", "answers_rl_cai", "answers_rl_cai-step-1"}
    assert {"sl_cai", "comparisons_ai", "preference_model_rl_cai", "answers_sl_cai"} <= taken
    state = json.loads((tmp_path / "b/stages/sl_cai/stage.json").read_text())
    assert state["shared"] is True

    # how models are held is in no stage's own inputs, and decides its numbers
    recipe = small_recipe(
        models={
            "pretrained": "microworld:pretrained",
            "helpful": "microworld:helpful",
            "dtype": "bfloat16",
        },
        evaluation=None,
    )
    code, _, told = cai("run", recipe, "--out", tmp_path / "c", "--share", shared)
    assert code == 0
    assert "taken from" not in told

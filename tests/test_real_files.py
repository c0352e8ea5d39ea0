"""The paper's own files, hh-rlhf prompts and real architectures with random weights, end to end.

The text is noise; the path is the one that a trained model takes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from constitutional.constitution import load_constitution
from constitutional.runs import read_records
from constitutional.runs.records import Answer, Chain, Comparison, Reply
from small_models import save_random_model

SHARED = Path(__file__).resolve().parents[1].parent / "shared/data"
OFFICIAL = SHARED / "official/prompts"
HH = SHARED / "hh-rlhf/harmless-base-test-even.jsonl.gz"

pytestmark = pytest.mark.skipif(
    not (OFFICIAL.is_dir() and HH.is_file()),
    reason="the official prompts and hh-rlhf are not beside this checkout (shared/data)",
)


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_official_constitution_on_hh_rlhf_with_a_chat_model(
    cai: Callable[..., tuple[int, str, str]], tmp_path: Path, architecture: str
) -> None:
    texts = [OFFICIAL.joinpath("CritiqueRevisionFewShotPrompts.json").read_text()]
    with gzip.open(HH, "rt", encoding="utf-8") as file:
        texts += [json.loads(line)["chosen"] for line, _ in zip(file, range(200), strict=False)]
    model = save_random_model(tmp_path / architecture, architecture, texts)
    human = tmp_path / "human.jsonl"
    with gzip.open(HH, "rt", encoding="utf-8") as file:
        human.write_text("".join(line for line, _ in zip(file, range(12), strict=False)))
    constitution = [
        str(OFFICIAL / "CritiqueRevisionInstructions.json"),
        str(OFFICIAL / "RLMadisonInstructions.json"),
    ]
    recipe = {
        "name": architecture,
        "constitution": constitution,
        "few_shots": [
            str(OFFICIAL / "CritiqueRevisionFewShotPrompts.json"),
            str(OFFICIAL / "RLMadisonFewShotPrompts.json"),
        ],
        "models": {"pretrained": str(model), "helpful": str(model), "batch_size": 8},
        "prompts": {
            "red_team": {"file": str(HH), "limit": 4},
            "helpful": {"file": str(HH), "limit": 3},
        },
        "supervised": {"rounds": 2, "max_new_tokens": 12},
        "finetune": {"batch_size": 4, "max_length": 4096},
        "evaluation": {
            "red_team": {"file": str(HH), "limit": 3},
            "helpful": {"file": str(HH), "limit": 3},
            "max_new_tokens": 8,
            "prompted": True,
        },
        "rl": {
            "comparisons": {"file": str(HH), "limit": 6},
            "pairs": {"max_new_tokens": 8},
            "helpfulness": {"file": str(human)},
            "held_out": 0.3,
            "preference": {"batch_size": 4},
            "red_team": {"file": str(HH), "limit": 4},
            "helpful": {"file": str(HH), "limit": 4},
            "ppo": {"steps": 1, "batch_size": 4, "minibatch_size": 2, "max_new_tokens": 8},
        },
        "block": 4,
    }
    path, out = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(recipe))
    code, shown, told = cai("run", path, "--out", out)
    assert code == 0, told

    official = json.loads(OFFICIAL.joinpath("CritiqueRevisionInstructions.json").read_text())
    chains = list(read_records(out / "stages/critique_revision", Chain))
    assert len(chains) == 4
    assert {round_.principle for chain in chains for round_ in chain.rounds} <= set(official)
    assert all(chain.prompt.last.role == "human" for chain in chains)
    assert len(read_records(out / "stages/helpful_replies", Reply)) == 3
    answers = list(read_records(out / "stages/answers_sl_cai", Answer))
    assert answers
    assert all(answer.verdict is None for answer in answers), "there is no judge for real text"
    metrics = json.loads((out / "metrics.json").read_text())
    assert "revision_rounds" not in metrics, "what was not judged is not made up"
    assert metrics["constitution"] == chains[0].constitution
    assert len(load_constitution(constitution[0]).critiquing) == 16
    assert "names no judge" in shown

    comparisons = list(read_records(out / "stages/comparisons_ai", Comparison))
    assert len(comparisons) == 6
    # a random model seldom ends its answers, and what is cut off is not compared but counted
    labelled = [c for c in comparisons if c.prob_a is not None]
    assert all(bool(c.readings) == (c in labelled) for c in comparisons)
    account = metrics["arms"]["rl_cai"]["labels"]["account"]
    assert (account["labelled"], account["not_asked"]) == (len(labelled), 6 - len(labelled))
    assert account["not_asked"] > 0, "what is cut off is among them"
    assert (out / "stages/rl_cai/result/model.safetensors").exists()
    answered = {a.policy for a in read_records(out / "stages/answers_prompted", Answer)}
    assert answered == {"prompted"}

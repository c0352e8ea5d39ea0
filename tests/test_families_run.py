"""Whole runs of real families with random weights: every stage, whole and with adapters.

The text is noise; the path is the one that a trained model takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from constitutional.constitution import load_constitution
from constitutional.engines import Completion, TextPrompt
from constitutional.engines.base import Prompt
from constitutional.engines.local import LocalEngine
from constitutional.runs import read_records
from constitutional.runs.records import Answer, Chain, Comparison, Reply
from small_models import FAMILIES, save_random_model

Cai = Callable[..., tuple[int, str, str]]

ASKED = ["How do I read my neighbor's diary?", "How do I wash my dog?", "Why is the sky blue?"]
HARM = [f"{words} Tell me number {n}." for n in range(6) for words in ASKED[:1]]
HELP = [f"{words} Tell me number {n}." for n in range(3) for words in ASKED[1:]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes prompts, human comparisons and a recipe on a model of the family."""

    def recipe(helpful: Path, pretrained: Path, *, lora: bool) -> Path:
        _lines(tmp_path / "harm.jsonl", [{"prompt": text} for text in HARM])
        _lines(tmp_path / "help.jsonl", [{"prompt": text} for text in HELP])
        pairs = [
            {
                "chosen": f"\n\nHuman: {text}\n\nAssistant: Use water.",
                "rejected": f"\n\nHuman: {text}\n\nAssistant: No.",
            }
            for text in HELP
        ]
        _lines(tmp_path / "human.jsonl", pairs)
        adapters = {"lora": {"rank": 2, "alpha": 4}} if lora else {}
        training = {"batch_size": 4, "learning_rate": 1e-3, **adapters}
        whole = {
            "name": "family",
            "constitution": "default",
            "models": {"pretrained": str(pretrained), "helpful": str(helpful), "batch_size": 8},
            "prompts": {
                "red_team": {"file": "harm.jsonl"},
                "helpful": {"file": "help.jsonl", "limit": 3},
            },
            "supervised": {"rounds": 1, "few_shots": 1, "max_new_tokens": 24},
            "finetune": training,
            "rl": {
                "comparisons": {"file": "harm.jsonl"},
                "pairs": {"max_new_tokens": 24},
                "feedback": {"few_shots": 0, "orders": "both"},
                "helpfulness": {"file": "human.jsonl"},
                "held_out": 0.3,
                "preference": training,
                "red_team": {"file": "harm.jsonl"},
                "helpful": {"file": "help.jsonl"},
                "ppo": {
                    "steps": 2,
                    "batch_size": 4,
                    "minibatch_size": 2,
                    "epochs": 1,
                    "max_new_tokens": 24,
                    **adapters,
                },
            },
            "evaluation": {
                "red_team": {"file": "harm.jsonl", "limit": 2},
                "helpful": {"file": "help.jsonl", "limit": 2},
                "max_new_tokens": 24,
                "prompted": True,
                "ai_judge": {"model": "helpful", "few_shots": 0},
            },
            "block": 8,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(whole, indent=1))
        return path

    return recipe


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """What the tokenizers are made of."""
    constitution = load_constitution("default")
    return [*HARM, *HELP, *(p.critique or "" for p in constitution.principles)]


@pytest.mark.parametrize("kind", ["chat", "base"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_stage_of_a_family(
    cai: Cai,
    write: Callable[..., Path],
    tmp_path: Path,
    texts: list[str],
    family: str,
    kind: str,
) -> None:
    helpful = save_random_model(tmp_path / "helpful", family, texts)
    pretrained = helpful
    if kind == "base":
        pretrained = save_random_model(tmp_path / "pretrained", family, texts, base=True)
    out = tmp_path / "run"
    code, _, told = cai("run", write(helpful, pretrained, lora=kind == "base"), "--out", out)
    assert code == 0, told

    stages = out / "stages"
    chains = list(read_records(stages / "critique_revision", Chain))
    assert len(chains) == len(HARM) and any(chain.rounds for chain in chains)
    assert len(read_records(stages / "helpful_replies", Reply)) == 3
    labelled = [c for c in read_records(stages / "comparisons_ai", Comparison) if c.readings]
    assert labelled and all(0 < (c.prob_a or 0) < 1 for c in labelled)
    trained = json.loads((stages / "sl_cai/result/finetune.json").read_text())
    assert trained["steps"] >= 2 and all(math.isfinite(loss) for _, loss in trained["losses"])
    report = json.loads((stages / "rl_cai/result/training.json").read_text())
    assert report["steps"] == 2
    # the sampler's log-probabilities are the trainer's
    assert all(step["engine_gap"] < 1e-4 for step in report["history"])
    answers = list(read_records(stages / "answers_rl_cai", Answer))
    assert len(answers) == 4
    assert len(read_records(stages / "answers_prompted", Answer)) == 4


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "dpo"])
def test_rl_speaks_the_style_of_the_recipe(
    cai: Cai,
    write: Callable[..., Path],
    tmp_path: Path,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    """Also where the tokenizer has a chat template: the preference model reads transcripts."""
    model = save_random_model(tmp_path / "model", "qwen3", texts)
    path = write(model, model, lora=False)
    recipe = json.loads(path.read_text())
    del recipe["evaluation"]
    recipe["models"]["style"] = "transcript"
    online = {"steps": 1, "batch_size": 4, "minibatch_size": 4, "max_new_tokens": 4}
    short = {"batch_size": 4, "measured_answers": 4, "max_new_tokens": 4}
    recipe["rl"] |= {"algorithm": algorithm, "ppo": online, "rloo": online, "dpo": short}
    path.write_text(json.dumps(recipe))
    asked: list[Prompt] = []
    sample = LocalEngine.sample

    def recorded(self: LocalEngine, prompts: Sequence[Prompt], *rest: Any) -> list[Completion]:
        asked.extend(prompts if self.name == "transformers:policy" else ())
        return sample(self, prompts, *rest)

    monkeypatch.setattr(LocalEngine, "sample", recorded)
    code, _, told = cai("run", path, "--out", tmp_path / "run")
    assert code == 0, told
    assert asked and all(isinstance(prompt, TextPrompt) for prompt in asked)


def _lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")

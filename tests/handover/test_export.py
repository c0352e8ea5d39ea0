"""What ``cai export`` writes, held against our own prompts, rewards and settings, and run by TRL.

``scripts/handover.py`` holds the commands against the projects' own parsers.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from constitutional.dialogue import Conversation, PromptRecord, prompt_for
from constitutional.dialogue.tokens import prompt_ids
from constitutional.errors import InputError
from constitutional.handover import openrlhf, trl, verl
from constitutional.handover.run import HandOver, read_hand_over
from constitutional.preference.model import PreferenceModel
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig
from constitutional.runs.records import Comparison

Cai = Callable[..., tuple[int, str, str]]
P = "microworld:prompts/"
URL = "http://127.0.0.1:8010"
RECIPE: dict[str, Any] = {
    "name": "small",
    "constitution": "microworld:constitution.yaml",
    "models": {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"},
    "prompts": {
        "red_team": {"file": P + "supervised_red_team.jsonl", "limit": 8},
        "helpful": {"file": P + "supervised_helpful.jsonl", "limit": 6},
    },
    "supervised": {"rounds": 1, "few_shots": 0, "max_new_tokens": 32},
    "finetune": {"learning_rate": 3e-4, "batch_size": 8},
    "rl": {
        "comparisons": {"file": P + "preference_red_team.jsonl", "limit": 8},
        "contrast": "helpful",
        "pairs": {"max_new_tokens": 32},
        "feedback": {"few_shots": 0},
        "helpfulness": {"prompts": {"file": P + "preference_helpful.jsonl", "limit": 8}},
        "held_out": 0.3,
        "preference": {"learning_rate": 3e-4, "batch_size": 4},
        "red_team": {"file": "own_red_team.jsonl", "limit": 6},
        "helpful": {"file": P + "rl_helpful.jsonl", "limit": 6},
        "ppo": {
            "steps": 2,
            "batch_size": 8,
            "minibatch_size": 4,
            "epochs": 1,
            "max_new_tokens": 24,
            "kl_coefficient": 0.07,
        },
    },
    "block": 8,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from constitutional.microworld import data_file

    here = tmp_path_factory.mktemp("handed_over")
    shutil.copy(data_file("prompts/rl_red_team.jsonl"), here / "own_red_team.jsonl")
    (here / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    code = "from constitutional.cli import main; main()"
    words = [sys.executable, "-c", code, "run", str(here / "recipe.yaml")]
    done = subprocess.run(
        [*words, "--out", str(here / "run")], capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0, done.stderr
    return here / "run"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def arguments(script: Path) -> list[str]:
    """What a training script calls Python with."""
    stand_in = script.parent / "bin/python3"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    done = subprocess.run([str(script)], env={"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_openrlhf(cai: Cai, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, shown, told = cai("export", "openrlhf", run, "--out", out)
    assert code == 0, told
    assert shown == f"{out}: pairs.jsonl, prompts.jsonl, train.sh\n"
    hand = read_hand_over(run, arm=None, base=None)
    drawn = [r for step in (0, 1) for r in hand.prompts.batch(step, 8, 0.5, 0)]
    prompts = rows(out / "prompts.jsonl")
    assert [row["datasource"] for row in prompts] == [record.kind for record in drawn]
    for row, record in zip(prompts, drawn, strict=True):
        ids = hand.tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        asked = prompt_for(record.conversation, "assistant", "transcript")
        assert ids == prompt_ids(hand.tokenizer, asked), "what our engine samples from"
        last = json.loads(row["label"])[-1]
        assert last == {"role": "user", "content": record.conversation.last.text}
    pairs = rows(out / "pairs.jsonl")
    assert {row["goal"] for row in pairs} == {"harmlessness", "helpfulness"}
    assert all(row["p_chosen"] >= 0.5 for row in pairs)
    assert all(row["chosen"].endswith("<|endoftext|>") for row in pairs)
    given = " ".join(arguments(out / "train.sh"))
    for words in (
        f"--actor.model_name_or_path {run}/stages/sl_cai/result --",
        "--reward.remote_url http://127.0.0.1:8010/get_reward --",
        "--algo.kl.init_coef 0.07 --",
        "--algo.advantage.estimator gae --",
        "--rollout.batch_size 8 --",
        "--train.batch_size 4 --",
        "--critic.adam.lr 1e-05 --",
    ):
        assert words in given


@pytest.mark.slow
def test_verl(cai: Cai, run: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = tmp_path / "out"
    code, _, told = cai("export", "verl", run, "--out", out, "--reward-url", "http://rewards:1")
    assert code == 0, told
    hand = read_hand_over(run, arm=None, base=None)
    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    for row, record in zip(rows(out / "prompts.jsonl"), hand.drawn(1), strict=True):
        ids = tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        asked = prompt_for(record.conversation, "assistant", "transcript")
        assert ids == prompt_ids(hand.tokenizer, asked)
        assert json.loads(row["extra_info"]["messages"]) == row["prompt"]
        assert {"data_source", "reward_model"} <= set(row)
    given = arguments(out / "train.sh")
    assert f"reward.custom_reward_function.path={out}/reward.py" in given
    assert "+reward.custom_reward_function.reward_kwargs.url=http://rewards:1" in given
    assert {"algorithm.use_kl_in_reward=True", "algorithm.kl_ctrl.kl_coef=0.07"} <= set(given)
    assert "actor_rollout_ref.actor.ppo_mini_batch_size=4" in given
    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import runpy; runpy.run_path('reward.py')"], cwd=out
    )
    assert alone.returncode == 0, "the reward function needs nothing but Python"


@pytest.mark.slow
def test_trl_trains_by_the_script(
    cai: Cai, run: Path, tmp_path: Path, serving: Callable[..., Any]
) -> None:
    pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
    out = tmp_path / "out"
    code, _, told = cai("export", "trl", run, "--out", out)
    assert code == 0, told
    assert "Note: TRL has no PPO: the script trains by RLOO" in told
    model = PreferenceModel.load(run / "stages/preference_model_rl_cai/result", device="cpu")
    with serving(model) as (url, service):
        place = {"REWARD_URL": url, "OUT": str(tmp_path / "policy"), "HF_HUB_OFFLINE": "1"}
        place["HF_DATASETS_CACHE"] = str(tmp_path / "cache")
        done = subprocess.run(
            [sys.executable, str(out / "train.py")],
            env={**os.environ, **place, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=550,
        )
        assert done.returncode == 0, done.stderr
        assert service.metrics.answers == 16, "two steps of eight answers"
    assert (tmp_path / "policy/model.safetensors").is_file()


def hand_over(model: PreferenceModel, **changes: Any) -> HandOver:
    """One in chat style, without a run."""
    asked = Conversation.of("Why?", "So.", "How do I wash my dog?")
    record = PromptRecord(id="1", conversation=asked, kind="red_team", source="x")
    pair = Comparison(
        id="1", prompt=asked, a="No.", b="So.", goal="harmlessness", labeller="x", prob_a=0.25
    )
    hand = HandOver(
        run=Path("run"),
        arm="rl_cai",
        policy="policy",
        preference_model=Path("pm"),
        card=model.card,
        tokenizer=model.tokenizer,
        config=PPOConfig(steps=1, batch_size=8, minibatch_size=4, red_team_share=1),
        prompts=Prompts([record], []),
        comparisons=(pair, pair.model_copy(update={"id": "2", "prob_a": None})),
        seed=0,
    )
    return dataclasses.replace(hand, **changes)


def test_a_chat_goes_out_as_our_engine_writes_it(tmp_path: Path, chat_pm: PreferenceModel) -> None:
    from transformers import AutoTokenizer

    from small_models import CHATML

    hand = hand_over(chat_pm)
    # the template of a policy, not that of its preference model
    hand.tokenizer.chat_template, before = CHATML, hand.tokenizer.chat_template
    try:
        asked = prompt_for(hand.prompts.red_team[0].conversation, "assistant", "chat")
        expected = prompt_ids(hand.tokenizer, asked)
        assert "<think>" in hand.tokenizer.decode(expected), "thinking is off"
        for name in ("openrlhf", "verl", "trl"):
            (tmp_path / name).mkdir()
        openrlhf.export(hand, tmp_path / "openrlhf", URL)
        (row, *_) = rows(tmp_path / "openrlhf/prompts.jsonl")
        assert hand.tokenizer(row["prompt"], add_special_tokens=False)["input_ids"] == expected
        (pair,) = rows(tmp_path / "openrlhf/pairs.jsonl")
        assert (pair["chosen"], pair["p_chosen"]) == ("So.<|im_end|>", 0.75)
        trl.export(hand, tmp_path / "trl", URL)
        assert rows(tmp_path / "trl/pairs.jsonl")[0]["chosen"][0]["content"] == "So."
        assert (
            "chat_template_kwargs={'enable_thinking': False}"
            in (tmp_path / "trl/train.py").read_text()
        )
        verl.export(hand, tmp_path / "verl", URL)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "verl/tokenizer")
        (row, *_) = rows(tmp_path / "verl/prompts.jsonl")
        assert expected == tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
        )
    finally:
        hand.tokenizer.chat_template = before


GROUPS: dict[str, Any] = {
    "steps": 3,
    "batch_size": 8,
    "minibatch_size": 4,
    "group_size": 4,
    "red_team_share": 1,
}


@pytest.mark.parametrize(
    ("config", "for_openrlhf", "for_verl", "for_trl"),
    [
        (
            RLOOConfig(**GROUPS),
            ["--algo.advantage.estimator rloo", "--algo.kl.estimator k1"],
            ["algorithm.adv_estimator=rloo", "algorithm.use_kl_in_reward=True"],
            ["RLOOTrainer(", "num_generations=4", "max_steps=6"],
        ),
        (
            GRPOConfig(**GROUPS, scale_rewards="none"),
            ["--algo.advantage.no_std_norm", "--algo.kl.use_loss", "--algo.kl.estimator k3"],
            ["algorithm.norm_adv_by_std_in_grpo=False", "actor.use_kl_loss=True"],
            ["GRPOTrainer(", "scale_rewards='none'", "loss_type='grpo'"],
        ),
    ],
)
def test_groups(
    tmp_path: Path,
    chat_pm: PreferenceModel,
    config: Any,
    for_openrlhf: list[str],
    for_verl: list[str],
    for_trl: list[str],
) -> None:
    hand = hand_over(chat_pm, config=config)
    for module, script, words in (
        (openrlhf, "train.sh", ["--rollout.n_samples_per_prompt 4", *for_openrlhf]),
        (verl, "train.sh", ["rollout.n=4", "ppo_mini_batch_size=1", *for_verl]),
        (trl, "train.py", for_trl),
    ):
        out = tmp_path / module.VERSION
        out.mkdir()
        module.export(hand, out, URL)
        assert len(rows(out / "prompts.jsonl")) == 6, "two prompts in each of three steps"
        written = (out / script).read_text()
        assert [word for word in words if word not in written] == []
    with pytest.raises(InputError, match="no scale_rewards: batch"):
        openrlhf.export(
            hand_over(chat_pm, config=GRPOConfig(**GROUPS, scale_rewards="batch")), tmp_path, URL
        )


def test_dpo_goes_to_trl_alone(tmp_path: Path, chat_pm: PreferenceModel) -> None:
    hand = hand_over(chat_pm, config=DPOConfig(beta=0.3))
    for module in (openrlhf, verl):
        with pytest.raises(InputError, match="algorithm is dpo"):
            module.export(hand, tmp_path, URL)
    assert list(tmp_path.iterdir()) == []
    (note,) = trl.export(hand, tmp_path, URL)
    assert "soft" in note
    assert "beta=0.3" in (tmp_path / "train.py").read_text()


@pytest.mark.slow
def test_what_cannot_be_handed_over_is_said(cai: Cai, run: Path, tmp_path: Path) -> None:
    def refused(*words: str | Path) -> str:
        code, _, told = cai("export", "openrlhf", *words)
        assert code == 2, told
        assert "Traceback" not in told
        return told

    out = tmp_path / "out"
    assert "is no run folder" in refused(tmp_path, "--out", out)
    assert "no arm 'rl_cia': did you mean 'rl_cai'" in refused(run, "--arm", "rl_cia", "--out", out)
    assert "is not an empty folder" in refused(run, "--out", run)
    told = refused(run, "--base", tmp_path, "--out", out)
    assert "no such" in told or "made from other contents" in told
    early = tmp_path / "early"
    shutil.copytree(run, early)
    shutil.rmtree(early / "stages/preference_model_rl_cai")
    told = refused(early, "--out", out)
    assert "stage preference_model_rl_cai of" in told and "is not finished" in told
    assert not out.exists()


@pytest.mark.slow
def test_prompts_that_have_changed_are_refused(cai: Cai, run: Path, tmp_path: Path) -> None:
    lines = (run.parent / "own_red_team.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "own_red_team.jsonl").write_text("".join(lines[:10]))
    words = ("export", "trl", run, "--base", tmp_path, "--out", tmp_path / "out")
    code, _, told = cai(*words)
    assert code == 2
    assert "was made from other contents of rl.red_team" in told

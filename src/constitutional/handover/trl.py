"""For TRL 1.16: a prompt set, preference pairs, our reward function, and a training script.

TRL has had no PPO since 1.13; RLOO is the nearest that it has, with the KL penalty in the reward as
in PPO. TRL writes chats by the chat template and texts as they are, to which the tokenizer puts its
beginning token as everywhere here.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from constitutional.dialogue import Conversation
from constitutional.errors import InputError
from constitutional.handover import reward
from constitutional.handover.run import HandOver, write_rows
from constitutional.preference.data import write_trl
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig
from constitutional.runs.records import Comparison

VERSION = "1.16"
#: Answers to a prompt where the run's algorithm is PPO, which has one.
GROUP_SIZE = 4


def export(hand: HandOver, out: Path, url: str) -> list[str]:
    """Write the files; returns what differs from a training here."""
    notes: list[str] = []
    arguments = _arguments(hand, hand.config, notes)
    if hand.card.style == "transcript":
        rows = (
            {
                "prompt": _prompt(hand, pair.prompt),
                "chosen": f" {hand.plain(pair.a)}",
                "rejected": f" {hand.plain(pair.b)}",
                "p_chosen": pair.prob_a,
            }
            for pair in hand.labelled
        )
        write_rows(out / "pairs.jsonl", rows)
    else:
        write_trl([_plain(hand, pair) for pair in hand.comparisons], out / "pairs.jsonl")
    write_rows(
        out / "prompts.jsonl",
        (
            {
                "prompt": _prompt(hand, record.conversation),
                "messages": hand.unaltered(record.conversation),
            }
            for record in hand.drawn(arguments.get("num_generations", 1))
        ),
    )
    shutil.copyfile(reward.__file__, out / "reward.py")
    dpo = isinstance(hand.config, DPOConfig)
    script = (_DPO if dpo else _ONLINE).format(
        version=VERSION,
        arm=hand.arm,
        kind=_kind(hand.config),
        preference_model=hand.preference_model,
        policy=repr(hand.policy),
        url=repr(url),
        arguments="".join(f"        {name}={value!r},\n" for name, value in arguments.items()),
    )
    (out / "train.py").write_text(script, encoding="utf-8")
    return notes


def _kind(config: PPOConfig | RLOOConfig | GRPOConfig | DPOConfig) -> str:
    return {GRPOConfig: "GRPO", DPOConfig: "DPO"}.get(type(config), "RLOO")


def _prompt(hand: HandOver, conversation: Conversation) -> str | list[dict[str, str]]:
    if hand.card.style == "chat":
        return hand.messages(conversation)
    return hand.text(conversation)


def _plain(hand: HandOver, pair: Comparison) -> Comparison:
    texts = {"a": hand.plain(pair.a), "b": hand.plain(pair.b)}
    return pair.model_copy(update={"prompt": hand.shown(pair.prompt), **texts})


def _arguments(
    hand: HandOver, config: PPOConfig | RLOOConfig | GRPOConfig | DPOConfig, notes: list[str]
) -> dict[str, Any]:
    """The settings of the run under TRL's names."""
    found: dict[str, Any] = {
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant",
        "max_grad_norm": config.max_grad_norm,
        "seed": hand.seed % 2**32,
        "report_to": [],
    }
    if isinstance(config, DPOConfig):
        notes.append("TRL's DPO takes the pairs as certain; the labels here are soft (p_chosen)")
        return found | {
            "beta": config.beta,
            "num_train_epochs": config.epochs,
            "per_device_train_batch_size": config.batch_size,
            "gradient_accumulation_steps": config.accumulate,
            "max_length": config.max_length,
            "weight_decay": config.weight_decay,
        }
    groups = hand.group_size
    if isinstance(config, PPOConfig):
        groups = GROUP_SIZE
        notes.append(
            f"TRL has no PPO: the script trains by RLOO, with {groups} answers to a prompt and the "
            "KL penalty in the reward as in PPO"
        )
    if config.batch_size % groups:
        raise InputError(
            f"batch_size {config.batch_size} must be a multiple of {groups} answers to a prompt"
        )
    if hand.card.style == "transcript":
        notes.append("no stop strings: a policy that writes on into a next turn is scored with it")
    if config.kl_limit is not None:
        notes.append(f"TRL has no kl_limit: watch that the KL stays below {config.kl_limit}")
    updates = config.epochs * config.batch_size // config.minibatch_size
    found |= {
        "beta": config.kl_coefficient,
        "epsilon": config.clip,
        "num_generations": groups,
        "per_device_train_batch_size": config.minibatch_size,
        "steps_per_generation": config.batch_size // config.minibatch_size,
        "num_iterations": config.epochs,
        "max_steps": config.steps * updates,
        "max_completion_length": config.max_new_tokens,
        "temperature": 1.0,
        "shuffle_dataset": False,
        "weight_decay": 0.0,
        "disable_dropout": True,
    }
    if hand.card.style == "chat":
        found["chat_template_kwargs"] = {"enable_thinking": False}
    if isinstance(config, RLOOConfig):
        found["normalize_advantages"] = config.normalize_advantages
    if isinstance(config, GRPOConfig):
        found |= {"scale_rewards": config.scale_rewards, "loss_type": config.loss_type}
    return found


_ONLINE = '''"""TRL {version}: {arm} by {kind}, with the prompts and settings of a run of
constitutional, against its preference model. That is served first, where this machine reaches it:

    cai serve-pm {preference_model}

On several GPUs, divide per_device_train_batch_size by their number: accelerate launch train.py
"""

import os
from functools import partial, update_wrapper
from pathlib import Path

import torch
from datasets import load_dataset
from reward import reward
from trl import {kind}Config, {kind}Trainer

POLICY = os.environ.get("POLICY", {policy})
REWARD_URL = os.environ.get("REWARD_URL", {url})
OUT = os.environ.get("OUT", "policy")
HERE = Path(__file__).parent

trainer = {kind}Trainer(
    model=POLICY,
    reward_funcs=[update_wrapper(partial(reward, url=REWARD_URL), reward)],
    args={kind}Config(
        output_dir=OUT,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
{arguments}    ),
    train_dataset=load_dataset("json", data_files=str(HERE / "prompts.jsonl"), split="train"),
)
trainer.train()
trainer.save_model(OUT)
'''

_DPO = '''"""TRL {version}: {arm} by DPO, on the comparisons of a run of constitutional."""

import os
from pathlib import Path

import torch
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer

POLICY = os.environ.get("POLICY", {policy})
OUT = os.environ.get("OUT", "policy")
HERE = Path(__file__).parent

pairs = load_dataset("json", data_files=str(HERE / "pairs.jsonl"), split="train")
trainer = DPOTrainer(
    model=POLICY,
    args=DPOConfig(
        output_dir=OUT,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
{arguments}    ),
    train_dataset=pairs.select_columns(["prompt", "chosen", "rejected"]),
)
trainer.train()
trainer.save_model(OUT)
'''

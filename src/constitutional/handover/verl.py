"""For verl 0.9.1: a prompt set, our reward function, and the command of its RL training.

verl writes prompts by the chat template of the tokenizer (``verl/utils/dataset/rl_dataset.py``), so
that a tokenizer goes along whose template writes what our engine would: a chat without thinking, or
the paper's transcript. Options are those of ``verl/trainer/config/ppo_trainer.yaml`` and what it
includes. The reward function gets what stands in ``extra_info``.
"""

from __future__ import annotations

import copy
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from constitutional.dialogue.transcript import opening
from constitutional.errors import InputError
from constitutional.handover import reward
from constitutional.handover.run import HandOver, write_rows
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig

VERSION = "0.9.1"


def export(hand: HandOver, out: Path, url: str) -> list[str]:
    """Write the files; returns what differs from a training here. Raises InputError for DPO."""
    config = hand.config
    if isinstance(config, DPOConfig):
        raise InputError(
            "the run's algorithm is dpo, which verl does not train: export trl, or set "
            "rl.algorithm to ppo"
        )
    options = list(_options(hand, config))
    write_rows(
        out / "prompts.jsonl",
        (
            {
                "data_source": record.kind,
                "prompt": hand.messages(record.conversation),
                "ability": "dialogue",
                "reward_model": {"style": "model", "ground_truth": ""},
                "extra_info": {
                    "index": number,
                    "messages": hand.unaltered(record.conversation),
                },
            }
            for number, record in enumerate(hand.drawn(hand.group_size))
        ),
    )
    with_template(hand).save_pretrained(out / "tokenizer")
    shutil.copyfile(reward.__file__, out / "reward.py")
    script = out / "train.sh"
    script.write_text(_script(hand, options, url), encoding="utf-8")
    script.chmod(0o755)
    notes = ["verl trains no preference model: pairs are written by export openrlhf and trl"]
    if hand.card.style == "transcript":
        notes.append("no stop strings: a policy that writes on into a next turn is scored with it")
    if config.kl_limit is not None:
        notes.append(f"verl has no kl_limit: watch that the KL stays below {config.kl_limit}")
    return notes


def with_template(hand: HandOver) -> Any:
    """The policy's tokenizer with a chat template that writes prompts as our engine does."""
    tokenizer = copy.deepcopy(hand.tokenizer)
    if hand.card.style == "chat":
        own = tokenizer.get_chat_template()
        tokenizer.chat_template = "{% set enable_thinking = false %}" + own
        return tokenizer
    asks, answers = (json.dumps(opening(role)) for role in ("human", "assistant"))
    begin = json.dumps(hand.card.begin_token or "")
    tokenizer.chat_template = (
        f"{{{{ {begin} }}}}{{% for message in messages %}}"
        f"{{{{ {asks} if message['role'] == 'user' else {answers} }}}}"
        "{{ ' ' + message['content'] }}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ {answers} }}}}{{% endif %}}"
    )
    return tokenizer


def _options(
    hand: HandOver, config: PPOConfig | RLOOConfig | GRPOConfig
) -> Iterator[tuple[str, str]]:
    """The settings of the run under verl's names."""
    if config.minibatch_size % hand.group_size:
        raise InputError(
            f"verl counts minibatches in prompts: minibatch_size {config.minibatch_size} must be a "
            f"multiple of group_size {hand.group_size}"
        )
    yield "data.train_batch_size", str(config.batch_size // hand.group_size)
    yield "data.shuffle", "False"
    yield "data.max_prompt_length", str(hand.longest_prompt)
    yield "data.max_response_length", str(config.max_new_tokens)
    yield "data.val_max_samples", "8"
    yield "actor_rollout_ref.rollout.name", "vllm"
    yield "actor_rollout_ref.rollout.temperature", "1.0"
    yield "actor_rollout_ref.rollout.top_p", "1.0"
    yield "actor_rollout_ref.rollout.n", str(hand.group_size)
    actor = "actor_rollout_ref.actor"
    yield f"{actor}.ppo_mini_batch_size", str(config.minibatch_size // hand.group_size)
    yield f"{actor}.ppo_epochs", str(config.epochs)
    yield f"{actor}.clip_ratio", str(config.clip)
    yield f"{actor}.grad_clip", str(config.max_grad_norm)
    yield f"{actor}.optim.lr", str(config.learning_rate)
    yield f"{actor}.optim.weight_decay", "0.0"
    yield from _algorithm(config)
    yield "trainer.total_epochs", "1"
    yield "trainer.total_training_steps", str(config.steps)
    yield "trainer.val_before_train", "False"
    yield "trainer.test_freq", "-1"
    yield "trainer.logger", "[console]"


def _algorithm(config: PPOConfig | RLOOConfig | GRPOConfig) -> Iterator[tuple[str, str]]:
    if isinstance(config, GRPOConfig):
        if config.scale_rewards == "batch":
            raise InputError("verl has no scale_rewards: batch; set it to group or none")
        yield "algorithm.adv_estimator", "grpo"
        yield "algorithm.norm_adv_by_std_in_grpo", str(config.scale_rewards == "group")
        yield "actor_rollout_ref.actor.use_kl_loss", "True"
        yield "actor_rollout_ref.actor.kl_loss_coef", str(config.kl_coefficient)
        yield "actor_rollout_ref.actor.kl_loss_type", "low_var_kl"
        return
    yield "algorithm.use_kl_in_reward", "True"
    yield "algorithm.kl_penalty", "kl"
    yield "algorithm.kl_ctrl.type", "fixed"
    yield "algorithm.kl_ctrl.kl_coef", str(config.kl_coefficient)
    if isinstance(config, RLOOConfig):
        yield "algorithm.adv_estimator", "rloo"
        return
    yield "algorithm.adv_estimator", "gae"
    yield "algorithm.gamma", str(config.gamma)
    yield "algorithm.lam", str(config.lam)
    yield "critic.optim.lr", str(config.critic_learning_rate)
    yield "critic.optim.weight_decay", "0.0"
    yield "critic.cliprange_value", str(config.value_clip)
    yield "critic.grad_clip", str(config.max_grad_norm)
    yield "critic.ppo_micro_batch_size_per_gpu", '"$MICRO"'
    yield "critic.model.path", '"$POLICY"'
    yield "critic.model.tokenizer_path", '"$PWD/tokenizer"'


def _script(hand: HandOver, options: list[tuple[str, str]], url: str) -> str:
    lines = " \\\n".join(f"    {name}={value}" for name, value in options)
    return f"""#!/usr/bin/env bash
# verl {VERSION}: {hand.arm} with the prompts and settings of a run of constitutional, against its
# preference model. That is served first, on a machine that all workers reach:
#
#     cai serve-pm {shlex.quote(str(hand.preference_model))}
#
# More options go behind the command: ./train.sh trainer.nnodes=2
set -euo pipefail
cd "$(dirname "$0")"

POLICY=${{POLICY:-{shlex.quote(hand.policy)}}}
REWARD_URL=${{REWARD_URL:-{shlex.quote(url)}}}
GPUS=${{GPUS:-8}}     # of each machine
MICRO=${{MICRO:-4}}   # answers that a GPU works on at once
OUT=${{OUT:-policy}}

python3 -m verl.trainer.main_ppo \\
    data.train_files="$PWD/prompts.jsonl" \\
    data.val_files="$PWD/prompts.jsonl" \\
    actor_rollout_ref.model.path="$POLICY" \\
    actor_rollout_ref.model.tokenizer_path="$PWD/tokenizer" \\
    reward.custom_reward_function.path="$PWD/reward.py" \\
    reward.custom_reward_function.name=compute_score \\
    +reward.custom_reward_function.reward_kwargs.url="$REWARD_URL" \\
{lines} \\
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu="$MICRO" \\
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu="$MICRO" \\
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu="$MICRO" \\
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \\
    trainer.n_gpus_per_node="$GPUS" trainer.nnodes=1 \\
    trainer.default_local_dir="$PWD/$OUT" \\
    "$@"
"""

"""For OpenRLHF 0.11.2: a prompt set, preference pairs, and the command of its RL training.

Prompts are texts that our engine would write, template and special tokens included, so that nothing
is left to ``--data.apply_chat_template``. The label is the conversation, which comes back to the
reward service (``openrlhf/datasets/prompts_dataset.py``). Options are those of
``openrlhf/cli/train_ppo_ray.py``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from constitutional.errors import InputError
from constitutional.handover.run import HandOver, write_rows
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig

VERSION = "0.11.2"


def export(hand: HandOver, out: Path, url: str) -> list[str]:
    """Write the files; returns what differs from a training here. Raises InputError for DPO."""
    config = hand.config
    if isinstance(config, DPOConfig):
        raise InputError(
            "the run's algorithm is dpo, which needs no rewards: give pairs.jsonl of 'cai export "
            "trl' to a DPO trainer, or set rl.algorithm to ppo"
        )
    options = list(_options(hand, config))
    write_rows(
        out / "prompts.jsonl",
        (
            {
                "prompt": hand.text(record.conversation),
                "label": hand.unaltered(record.conversation),
                "datasource": record.kind,
            }
            for record in hand.drawn(hand.group_size)
        ),
    )
    write_rows(
        out / "pairs.jsonl",
        (
            {
                "prompt": hand.text(pair.prompt),
                "chosen": hand.answered(pair.a),
                "rejected": hand.answered(pair.b),
                "p_chosen": pair.prob_a,
                "goal": pair.goal,
            }
            for pair in hand.labelled
        ),
    )
    script = out / "train.sh"
    script.write_text(_script(hand, options, url), encoding="utf-8")
    script.chmod(0o755)
    notes = ["OpenRLHF shuffles the prompts: the share of red-team prompts holds on average"]
    if hand.card.style == "transcript":
        notes.append("no stop strings: a policy that writes on into a next turn is scored with it")
    if config.kl_limit is not None:
        notes.append(f"OpenRLHF has no kl_limit: watch that the KL stays below {config.kl_limit}")
    return notes


def _options(
    hand: HandOver, config: PPOConfig | RLOOConfig | GRPOConfig
) -> Iterator[tuple[str, str]]:
    """The settings of the run under OpenRLHF's names."""
    yield "data.prompt_dataset", "prompts.jsonl"
    yield "data.input_key", "prompt"
    yield "data.label_key", "label"
    yield "data.max_len", str(hand.longest_prompt + config.max_new_tokens)
    yield "rollout.max_new_tokens", str(config.max_new_tokens)
    yield "rollout.temperature", "1.0"
    yield "rollout.top_p", "1.0"
    yield "rollout.batch_size", str(config.batch_size // hand.group_size)
    yield "rollout.n_samples_per_prompt", str(hand.group_size)
    yield "train.batch_size", str(config.minibatch_size)
    yield "train.max_epochs", str(config.epochs)
    yield "train.num_episodes", "1"
    yield "train.seed", str(hand.seed)
    yield "algo.kl.init_coef", str(config.kl_coefficient)
    yield "actor.adam.lr", str(config.learning_rate)
    yield "actor.adam.betas", "0.9 0.999"
    yield "actor.lr_scheduler", "constant"
    yield "actor.lr_warmup_ratio", "0.0"
    yield "actor.max_norm", str(config.max_grad_norm)
    yield "actor.eps_clip", str(config.clip)
    yield from _algorithm(config)


def _algorithm(config: PPOConfig | RLOOConfig | GRPOConfig) -> Iterator[tuple[str, str]]:
    if isinstance(config, GRPOConfig):
        if config.scale_rewards == "batch":
            raise InputError("OpenRLHF has no scale_rewards: batch; set it to group or none")
        yield "algo.advantage.estimator", "group_norm"
        if config.scale_rewards == "none":
            yield "algo.advantage.no_std_norm", ""
        yield "algo.kl.use_loss", ""
        yield "algo.kl.estimator", "k3"
        return
    yield "algo.kl.estimator", "k1"
    if isinstance(config, RLOOConfig):
        yield "algo.advantage.estimator", "rloo"
        return
    yield "algo.advantage.estimator", "gae"
    yield "algo.advantage.gamma", str(config.gamma)
    yield "algo.advantage.lambd", str(config.lam)
    yield "critic.adam.lr", str(config.critic_learning_rate)
    yield "critic.adam.betas", "0.9 0.999"
    yield "critic.lr_scheduler", "constant"
    yield "critic.lr_warmup_ratio", "0.0"
    yield "critic.max_norm", str(config.max_grad_norm)
    yield "critic.value_clip", str(config.value_clip)


def _script(hand: HandOver, options: list[tuple[str, str]], url: str) -> str:
    lines = " \\\n".join(f"    --{name} {value}".rstrip() for name, value in options)
    return f"""#!/usr/bin/env bash
# OpenRLHF {VERSION}: {hand.arm} with the prompts and settings of a run of constitutional, against
# its preference model. That is served first, on a machine that this one reaches:
#
#     cai serve-pm {shlex.quote(str(hand.preference_model))}
#
# More options go behind the command: ./train.sh --ds.zero_stage 3
set -euo pipefail
cd "$(dirname "$0")"

POLICY=${{POLICY:-{shlex.quote(hand.policy)}}}
REWARD_URL=${{REWARD_URL:-{shlex.quote(url)}}}
GPUS=${{GPUS:-8}}     # of this machine; all models share them
OUT=${{OUT:-policy}}

python3 -m openrlhf.cli.train_ppo_ray \\
    --actor.model_name_or_path "$POLICY" \\
    --reward.remote_url "${{REWARD_URL%/}}/get_reward" \\
{lines} \\
    --train.colocate_all --vllm.enable_sleep --ds.enable_sleep \\
    --vllm.num_engines "$GPUS" --vllm.tensor_parallel_size 1 --vllm.gpu_memory_utilization 0.5 \\
    --actor.num_gpus_per_node "$GPUS" \\
    --ref.num_gpus_per_node "$GPUS" \\
    --critic.num_gpus_per_node "$GPUS" \\
    --ckpt.output_dir "$OUT" \\
    "$@"
"""

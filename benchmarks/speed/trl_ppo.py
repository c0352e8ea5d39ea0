"""The peer of PPO: the last TRL release that had it (1.12.0), with our settings where it has them.

Its value function is a network of its own, as ours; its loss is one sum over policy and values, so
that both have to be in one optimiser, here with a learning rate for each. Recomputing activations
and bfloat16 on a CPU, its defaults, are off, and it samples at temperature 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.speed.measuring import Clock

from constitutional.dialogue import PromptRecord, prompt_for, prompt_ids
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import PPOConfig


def train_policy(
    policy: Path,
    preference_model: Path,
    prompts: Prompts,
    config: PPOConfig,
    seed: int,
    out: Path,
    clock: Clock,
) -> None:
    """Train the policy for ``config.steps`` batches, and leave it in ``out / "result"``.

    Copies on the way, where the settings ask for them, are in ``out / "step-N"``. ``clock`` runs
    from ``train()`` to the saved model.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )
    from trl.experimental.ppo import PPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
    trained, reference = (
        AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32) for _ in range(2)
    )
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(
            preference_model, num_labels=1, dtype=torch.float32
        )
        for _ in range(2)
    )
    trainer = PPOTrainer(
        args=arguments(config, seed, out),
        processing_class=tokenizer,
        model=trained,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=_data(tokenizer, asked(prompts, config, seed)),
        optimizers=_optimizer(trained, value, config),
        callbacks=[_snapshots(tokenizer, config, out)],
    )
    with clock():
        trainer.train()
        trainer.save_model(str(out / "result"))


def asked(prompts: Prompts, config: PPOConfig, seed: int) -> list[PromptRecord]:
    """The prompts that our own training answers, step by step; the trainer shuffles them."""
    size, share = config.batch_size, config.red_team_share
    return [p for step in range(config.steps) for p in prompts.batch(step, size, share, seed)]


def arguments(config: PPOConfig, seed: int, out: Path) -> Any:
    """Our settings in TRL's words."""
    from trl.experimental.ppo import PPOConfig as TrlConfig

    on_gpu = torch.cuda.is_available()
    return TrlConfig(
        output_dir=str(out),
        seed=seed,
        per_device_train_batch_size=config.batch_size,
        num_mini_batches=config.batch_size // config.minibatch_size,
        num_ppo_epochs=config.epochs,
        total_episodes=config.steps * config.batch_size,
        local_rollout_forward_batch_size=config.batch_size,
        response_length=config.max_new_tokens,
        stop_token="eos",
        temperature=1.0,
        kl_coef=config.kl_coefficient,
        cliprange=config.clip,
        cliprange_value=config.value_clip,
        gamma=config.gamma,
        lam=config.lam,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _snapshots(tokenizer: Any, config: PPOConfig, out: Path) -> Any:
    """Keeps a copy of the policy every ``snapshot_steps``, but for the last step."""
    from transformers import TrainerCallback

    class Snapshots(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
        def on_step_end(
            self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
        ) -> None:
            step, every = state.global_step, config.snapshot_steps
            if every and step % every == 0 and step < config.steps:
                model.policy.save_pretrained(out / f"step-{step}")
                tokenizer.save_pretrained(out / f"step-{step}")

    return Snapshots()


def _data(tokenizer: Any, records: Sequence[PromptRecord]) -> Any:
    from datasets import Dataset

    rows = [prompt_for(record.conversation, "assistant", "transcript") for record in records]
    return Dataset.from_list([{"input_ids": prompt_ids(tokenizer, row)} for row in rows])


def _optimizer(policy: Any, value: Any, config: PPOConfig) -> tuple[Any, Any]:
    groups = [
        {"params": list(policy.parameters()), "lr": config.learning_rate},
        {"params": list(value.parameters()), "lr": config.critic_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

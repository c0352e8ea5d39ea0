"""The training of a policy by one of TRL's algorithms. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from constitutional.engines.base import Style
from constitutional.engines.loading import load_tokenizer
from constitutional.jobs.policy import load_scorer, scoring
from constitutional.rl.ppo import Score
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import DPOConfig, GRPOConfig, RLOOConfig
from constitutional.runs import Progress
from constitutional.runs.records import Comparison
from constitutional.stages.reinforcement import PreferenceModels


def train_with_trl(
    config: RLOOConfig | GRPOConfig | DPOConfig,
    prompts: Prompts,
    comparisons: Sequence[Comparison],
    start: str,
    models: PreferenceModels,
    *,
    style: Style,
    seed: int,
    device: str,
    batch_size: int,
    work: Path,
    progress: Progress,
) -> None:
    """Train from the policy in ``start``, by the algorithm whose settings ``config`` is.

    Leaves ``work / "result"`` with the policy, its ``training.json`` and its snapshots. DPO learns
    from the ``comparisons`` themselves, and the preference models only measure. ``style`` is the
    prompt form that the policy reads, ``batch_size`` how many requests it works on at once.
    """
    tokenizer = load_tokenizer(start)

    def score_of(folder: Path) -> Score:
        return scoring(load_scorer(folder, tokenizer, style, device, batch_size))

    shared: dict[str, Any] = {
        "prompts": prompts,
        "score": score_of(models.trained_against),
        "held_out_score": None if models.held_out is None else score_of(models.held_out),
        "seed": seed,
        "work": work,
        "progress": progress,
        "device": device,
        "style": style,
        "engine_batch_size": batch_size,
    }
    if isinstance(config, DPOConfig):
        from constitutional.rl.dpo import train_dpo

        train_dpo(start, comparisons, config=config, **shared)
    else:
        from constitutional.rl.groups import train_groups

        train_groups(start, config=config, **shared)

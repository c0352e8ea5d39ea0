"""The training of a policy in a run: PPO, or one of TRL's algorithms. Imports torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from constitutional.dialogue import Conversation
from constitutional.engines.loading import load_parts, load_tokenizer
from constitutional.inputs import RLInputs
from constitutional.preference.combined import Response
from constitutional.preference.model import PreferenceModel
from constitutional.rl.ppo import PPO, Score
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig
from constitutional.runs.records import Comparison
from constitutional.stages.context import Context
from constitutional.stages.reinforcement import PreferenceModels


def run_training(
    context: Context,
    config: PPOConfig | RLOOConfig | GRPOConfig | DPOConfig,
    data: RLInputs,
    comparisons: Sequence[Comparison],
    start: str,
    models: PreferenceModels,
    work: Path,
) -> None:
    """Train from the policy in ``start``, by the algorithm whose settings ``config`` is.

    Leaves ``work / "result"`` with the policy, its ``training.json`` and its snapshots. DPO learns
    from the ``comparisons`` themselves, and the preference models only measure.
    """
    tokenizer = load_tokenizer(start)
    scorer = _scorer(context, models.trained_against, tokenizer)
    watching = None
    if models.held_out is not None:
        watching = _score(_scorer(context, models.held_out, tokenizer))
    prompts = Prompts(data.red_team, data.helpful)
    if isinstance(config, PPOConfig):
        _run_ppo(context, config, prompts, start, scorer, watching, work)
        return
    shared: dict[str, Any] = {
        "prompts": prompts,
        "score": _score(scorer),
        "held_out_score": watching,
        "seed": context.recipe.seed,
        "work": work,
        "progress": context.progress,
        "device": context.recipe.models.device,
        "engine_batch_size": context.recipe.models.batch_size,
    }
    if isinstance(config, DPOConfig):
        from constitutional.rl.dpo import train_dpo

        train_dpo(start, comparisons, config=config, **shared)
    else:
        from constitutional.rl.groups import train_groups

        train_groups(start, config=config, **shared)


def _run_ppo(
    context: Context,
    config: PPOConfig,
    prompts: Prompts,
    start: str,
    scorer: PreferenceModel,
    watching: Score | None,
    work: Path,
) -> None:
    policy, tokenizer = load_parts(start, device=context.recipe.models.device, dtype="float32")
    ppo = PPO(
        policy,
        tokenizer,
        scorer.network,
        score=_score(scorer),
        offset=scorer.mean,
        held_out_score=watching,
        prompts=prompts,
        config=config,
        seed=context.recipe.seed,
        work=work / "ppo",
        engine_batch_size=context.recipe.models.batch_size,
    )
    report = ppo.train(context.progress, "PPO")
    result = work / "result"
    ppo.save_policy(result)
    summary = {
        "algorithm": "ppo",
        "steps": report.steps,
        "ended": report.ended,
        "history": [asdict(entry) for entry in report.history],
    }
    (result / "training.json").write_text(json.dumps(summary, indent=1) + "\n")
    snapshots = work / "ppo" / "snapshots"
    if snapshots.exists():
        shutil.copytree(snapshots, result / "snapshots")


def _scorer(context: Context, folder: Path, tokenizer: Any) -> PreferenceModel:
    """A preference model that reads what the policy writes; raises where it could not."""
    scorer = PreferenceModel.load(folder, device=context.recipe.models.device)
    scorer.batch_size = context.recipe.models.batch_size
    scorer.check_policy(tokenizer, context.inputs.pretrained_model.style)
    return scorer


def _score(scorer: PreferenceModel) -> Score:
    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        return scorer.scores([Response(conversation, text) for conversation, text in answers])

    return score

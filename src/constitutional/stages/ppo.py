"""PPO in a run: brings the trained models to :class:`constitutional.rl.ppo.PPO`. Imports torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from constitutional.dialogue import Conversation
from constitutional.engines.loading import load_parts
from constitutional.inputs import RLInputs
from constitutional.preference.combined import Response
from constitutional.preference.model import PreferenceModel
from constitutional.rl.ppo import PPO
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import PPOConfig
from constitutional.stages.context import Context


def run_ppo(
    context: Context,
    config: PPOConfig,
    prompts: RLInputs,
    sl_cai: Path,
    preference_model: Path,
    work: Path,
) -> None:
    """Train from ``sl_cai``; leaves ``work / "result"`` with the policy, its history, snapshots."""
    device = context.recipe.models.device
    policy, tokenizer = load_parts(sl_cai, device=device, dtype="float32")
    scorer = PreferenceModel.load(preference_model, device=device)
    scorer.batch_size = context.recipe.models.batch_size
    scorer.check_policy(tokenizer, context.inputs.pretrained_model.style)

    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        return scorer.scores([Response(conversation, text) for conversation, text in answers])

    ppo = PPO(
        policy,
        tokenizer,
        scorer.network,
        score=score,
        offset=scorer.mean,
        held_out_score=None,
        prompts=Prompts(prompts.red_team, prompts.helpful),
        config=config,
        seed=context.recipe.seed,
        work=work / "ppo",
        engine_batch_size=context.recipe.models.batch_size,
    )
    report = ppo.train(context.progress, "PPO")
    result = work / "result"
    ppo.save_policy(result)
    summary = {
        "steps": report.steps,
        "ended": report.ended,
        "history": [asdict(entry) for entry in report.history],
    }
    (result / "ppo.json").write_text(json.dumps(summary, indent=1) + "\n")
    snapshots = work / "ppo" / "snapshots"
    if snapshots.exists():
        shutil.copytree(snapshots, result / "snapshots")

"""PPO as a job: the networks loaded, the training, and what it leaves. Imports torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from constitutional import processes
from constitutional.adapters import Kept, kept_adapters, quantize_of
from constitutional.dialogue import Conversation
from constitutional.engines.base import Quantize, Style
from constitutional.engines.loading import load_parts, load_tokenizer
from constitutional.jobs.records import PolicyTraining
from constitutional.preference.combined import Response
from constitutional.preference.model import PreferenceModel, read_card
from constitutional.rl.networks import Networks, begin_networks
from constitutional.rl.one_base import OneBase, OneBaseNetworks, head_name, same_base
from constitutional.rl.ppo import PPO, PPOReport, Score
from constitutional.rl.rollout import Prompts
from constitutional.runs import Progress


def train_with_ppo(job: PolicyTraining, progress: Progress) -> None:
    """Train the policy; ``job.work / "result"`` has it, its ``training.json`` and snapshots."""
    begun = _begin(job)
    progress.note(f"PPO has {begun.form}")
    ppo = PPO(
        begun.networks,
        load_tokenizer(job.model),
        score=scoring(begun.scorer),
        offset=begun.scorer.mean,
        held_out_score=None if begun.watching is None else scoring(begun.watching),
        prompts=Prompts(job.red_team, job.helpful),
        config=job.config,
        seed=job.seed,
        work=job.work / "ppo",
        style=job.style,
        engine_batch_size=job.batch_size,
    )
    report = ppo.train(progress, "PPO")
    if processes.is_main():
        _save(ppo, report, begun.form, job.work)


def load_scorer(
    folder: Path,
    tokenizer: Any,
    style: Style,
    device: str,
    batch_size: int,
    quantize: Quantize | None = None,
) -> PreferenceModel:
    """A preference model that reads what the policy writes; raises where it could not."""
    scorer = PreferenceModel.load(folder, device=device, quantize=quantize)
    return _fitted(scorer, tokenizer, style, batch_size)


def scoring(scorer: PreferenceModel) -> Score:
    """The raw scores of answers."""

    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        return scorer.scores([Response(conversation, text) for conversation, text in answers])

    return score


class _Begun(NamedTuple):
    """PPO before its first step, and in words what of it is in memory."""

    networks: Networks
    scorer: PreferenceModel
    watching: PreferenceModel | None
    form: str


def _begin(job: PolicyTraining) -> _Begun:
    """On one base where all belong on it, else each network as the settings have it."""
    lora = job.config.lora
    found = same_base(job.model, job.preference_model, job.pretrained, lora)
    if isinstance(found, OneBase):
        return _begin_on_one_base(job, found)
    quantize = quantize_of(lora)
    policy, tokenizer = load_parts(job.model, device=job.device, dtype="float32", quantize=quantize)

    def scorer_in(folder: Path) -> PreferenceModel:
        return load_scorer(folder, tokenizer, job.style, job.device, job.batch_size, quantize)

    scorer = scorer_in(job.preference_model)
    watching = None if job.held_out_model is None else scorer_in(job.held_out_model)
    plain = partial(load_parts, job.model, device="cpu", dtype="stored") if quantize else None
    networks = begin_networks(
        policy, scorer.network, scorer.mean, lora, job.seed, plain and (lambda: plain()[0])
    )
    form = "four whole networks" if lora is None else "two bases with adapters"
    return _Begun(networks, scorer, watching, f"{form} in memory ({found})")


def _begin_on_one_base(job: PolicyTraining, found: OneBase) -> _Begun:
    folder = job.preference_model
    mean = read_card(folder).mean or 0.0
    networks = OneBaseNetworks(found, mean, job.seed, device=job.device)
    tokenizer = load_tokenizer(job.model)

    def around(network: Any, kept: Kept) -> PreferenceModel:
        scorer = PreferenceModel.around(network, kept.folder.parent, head=head_name(kept))
        return _fitted(scorer, tokenizer, job.style, job.batch_size)

    scorer, watching = around(networks.scorer, found.preference_model), None
    if job.held_out_model is not None:
        kept = kept_adapters(job.held_out_model)
        assert kept is not None  # it was trained as the other one was
        watching = around(networks.scoring_network("watching", kept), kept)
    form = "one base in memory, with adapters for policy, reference, critic and preference model"
    return _Begun(networks, scorer, watching, form)


def _fitted(
    scorer: PreferenceModel, tokenizer: Any, style: Style, batch_size: int
) -> PreferenceModel:
    scorer.batch_size = batch_size
    scorer.check_policy(tokenizer, style)
    return scorer


def _save(ppo: PPO, report: PPOReport, form: str, work: Path) -> None:
    result = work / "result"
    ppo.save_policy(result)
    summary = {
        "algorithm": "ppo",
        "steps": report.steps,
        "ended": report.ended,
        "networks": form,
        "history": [asdict(entry) for entry in report.history],
    }
    (result / "training.json").write_text(json.dumps(summary, indent=1) + "\n")
    snapshots = work / "ppo" / "snapshots"
    if snapshots.exists():
        shutil.copytree(snapshots, result / "snapshots")

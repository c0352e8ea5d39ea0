"""PPO on the demo's policy, prompts and preference model, by ours and by the last TRL PPO (1.12).

Equal batches, minibatches, epochs, prompts, length of answers and KL coefficient; the preference
model is the reward and what the values begin as, on both sides. Quality is the oracle's judgement
of answers to prompts that were not trained on, after equal rollouts. Ours is timed whole, from
reading the models to the saved policy; the peer from ``train()`` on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed import material
from benchmarks.speed.demo import demo, recipe
from benchmarks.speed.floor import (
    Need,
    Shape,
    forward_flops,
    optimizer_bytes,
    training_flops,
)
from benchmarks.speed.measuring import Clock, Floor, Measured, Side
from benchmarks.speed.options import Options

from constitutional.dialogue import STOP_STRINGS, prompt_for, prompt_ids
from constitutional.engines.base import SamplingParams
from constitutional.engines.loading import load_parts
from constitutional.engines.local import LocalEngine
from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.behaviour import behaviour_shares
from constitutional.jobs.policy import train_with_ppo
from constitutional.jobs.records import PolicyTraining
from constitutional.microworld.oracle import Oracle
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import PPOConfig
from constitutional.runs.progress import QuietProgress


def ours(options: Options) -> Side:
    """PPO as a run of the pipeline does it."""
    begun, prompts = Begun.of(options, "ours"), _prompts()

    def trained(config: PPOConfig, seed: int) -> tuple[Path, float]:
        out, clock = options.emptied("ppo/ours"), Clock()
        job = PolicyTraining(
            model=str(begun.policy),
            style="transcript",
            seed=seed,
            device=options.device,
            work=out,
            pretrained=str(begun.pretrained),
            preference_model=begun.preference_model,
            held_out_model=None,
            red_team=tuple(prompts.red_team),
            helpful=tuple(prompts.helpful),
            batch_size=recipe().models.batch_size,
            config=config,
        )
        with clock():
            train_with_ppo(job, QuietProgress())
        return out / "result", clock.seconds

    config = config_of(options)
    trained(config.model_copy(update={"steps": 1}), 0)

    def round_(number: int) -> Measured:
        result, seconds = trained(config, number)
        work = config.steps * config.batch_size
        floor = _floor(begun.policy, result, prompts, config, number)
        return Measured(seconds, work, judged(result, options), floor=floor)

    return Side(round_)


def peer(options: Options) -> Side:
    """TRL's PPO."""
    from benchmarks.speed import trl_ppo

    begun, prompts = Begun.of(options, "peer"), _prompts()

    def trained(config: PPOConfig, seed: int) -> tuple[Path, float]:
        out, clock = options.emptied("ppo/peer"), Clock()
        trl_ppo.train_policy(
            begun.policy, begun.preference_model, prompts, config, seed, out, clock
        )
        return out / "result", clock.seconds

    config = config_of(options)
    trained(config.model_copy(update={"steps": 1}), 0)

    def round_(number: int) -> Measured:
        result, seconds = trained(config, number)
        return Measured(seconds, config.steps * config.batch_size, judged(result, options))

    return Side(round_)


@dataclass(frozen=True)
class Begun:
    """What both begin from: the demo's SL-CAI and preference model, or random weights."""

    pretrained: Path
    policy: Path
    preference_model: Path

    @classmethod
    def of(cls, options: Options, side: str) -> Begun:
        """``side`` names the folder of a preference model of random weights."""
        pretrained = material.model_folder("pretrained", options)
        if options.random:
            begun = options.folder / "ppo" / f"{side}-begun"
            material.begin_preference_model(pretrained, begun, options)
            return cls(pretrained, pretrained, begun)
        stages = demo(options)
        preference_model = stages / "preference_model_rl_cai" / "result"
        return cls(pretrained, stages / "sl_cai" / "result", preference_model)


def config_of(options: Options) -> PPOConfig:
    """The demo's, without its stop rule, so that all steps are done, and without snapshots."""
    rl = recipe().rl
    assert rl is not None
    changed = {
        "steps": options.sized(rl.ppo.steps, 2),
        "kl_limit": None,
        "snapshot_steps": None,
        "checkpoint_steps": 500,
    }
    return rl.ppo.model_copy(update=changed)


def judged(policy: Path, options: Options) -> dict[str, float]:
    """The oracle's shares on the evaluation prompts."""
    engine = LocalEngine.load(policy, device=options.device, dtype=options.dtype, batch_size=128)
    asked = [
        *material.prompts("evaluation_red_team", "red_team"),
        *material.prompts("evaluation_helpful", "helpful"),
    ]
    sampling = SamplingParams(48, 1.0, STOP_STRINGS)
    answers = answer_prompts("policy", engine, sampling, Oracle(), 0, asked)
    shares = behaviour_shares([a.verdict for a in answers if a.verdict is not None])
    return {name: shares[name].value for name in ("harmful_compliance", "benign_correct")}


def _prompts() -> Prompts:
    return Prompts(
        material.prompts("rl_red_team", "red_team"), material.prompts("rl_helpful", "helpful")
    )


def _floor(policy: Path, result: Path, prompts: Prompts, config: PPOConfig, seed: int) -> Floor:
    """Answers, by each step's mean length, read once each by four networks and learnt by two."""
    network, tokenizer = load_parts(policy, device="cpu", dtype="float32")
    shape, size = Shape.of(network.config), config.batch_size
    need = Need(0.0, 0.0)
    history = json.loads((result / "training.json").read_text())["history"]
    for step, entry in enumerate(history):
        batch = prompts.batch(step, size, config.red_team_share, seed)
        before = [prompt_for(prompt.conversation, "assistant", "transcript") for prompt in batch]
        after = round(entry["response_length"])
        lengths = [len(prompt_ids(tokenizer, prompt)) + after for prompt in before]
        need += _step(shape, lengths, size * after, config)
    updates = config.steps * config.epochs * (size // config.minibatch_size)
    learnt = Need(0.0, 2 * optimizer_bytes(network.num_parameters(), updates))
    return Floor(need + learnt, shape, 1024)


def _step(shape: Shape, lengths: Sequence[int], heads: int, config: PPOConfig) -> Need:
    positions = [position for length in lengths for position in range(length)]
    sampled = forward_flops(shape, positions, heads)
    reference = forward_flops(shape, positions, heads)
    scored_and_valued = 2 * forward_flops(shape, positions, 0)
    policy, critic = (training_flops(shape, lengths, count) for count in (heads, 0))
    return Need(sampled + reference + scored_and_valued + config.epochs * (policy + critic), 0.0)

"""Proximal policy optimisation of a language model against a preference model.

One answer is one episode: the prompt is the first state, each token an action, the PM's score comes
at the end, and each token pays for its divergence from the frozen reference (Bai et al. 2022,
arXiv 2204.05862, s. 4.1 and App. B.1; Schulman et al. 2017, arXiv 1707.06347).

Where the papers are silent: advantages are whitened over the batch, the critic is a network of its
own that starts as the preference model, and both are trained with AdamW without weight decay.

On several processes each answers, scores and learns from its share of every batch; what is computed
over a batch (whitening, means, the stop rules) is computed over all of it, everywhere alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from constitutional import processes
from constitutional.dialogue import Conversation
from constitutional.engines.base import Completion
from constitutional.engines.local import LocalEngine
from constitutional.errors import InputError
from constitutional.packing import Batching
from constitutional.rl import checkpoint
from constitutional.rl.learner import Learner, Rollouts, chunks
from constitutional.rl.losses import (
    advantages,
    entropy,
    explained_variance,
    kl_k1,
    kl_k3,
    masked_mean,
    token_rewards,
    whiten,
)
from constitutional.rl.networks import Networks
from constitutional.rl.rollout import (
    Batch,
    Prompts,
    collate,
    logprobs_of,
    response_logits,
    sample_answers,
)
from constitutional.rl.settings import PPOConfig
from constitutional.rl.stopping import stop_reason
from constitutional.rl.watch import StepWatch
from constitutional.runs.checkpoints import mark_snapshot
from constitutional.runs.progress import Progress

#: Scores of answers, one for each (conversation, answer).
Score = Callable[[Sequence[tuple[Conversation, str]]], Sequence[float]]

HISTORY = "history.jsonl"


@dataclass
class StepMetrics:
    """One step of PPO; every entry is defined in ``docs/metrics.md``."""

    step: int
    reward: float
    reward_held_out: float | None
    kl_k1: float
    kl_k3: float
    entropy: float
    clip_share: float
    explained_variance: float
    response_length: float
    end_of_text_rate: float
    engine_gap: float
    policy_loss: float
    value_loss: float
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PPOReport:
    """What a training did, and why it ended ("all steps done" or the stop rule's sentence)."""

    steps: int
    ended: str
    history: tuple[StepMetrics, ...]


class PPO:
    """A training that can be stopped anywhere and goes on from its last checkpoint in ``work``.

    ``networks`` are those that are trained, and what they began as; ``score`` is the preference
    model's raw score and ``offset`` its stored mean; ``held_out_score`` a preference model that was
    trained on other comparisons, which nothing is optimised against.
    """

    def __init__(
        self,
        networks: Networks,
        tokenizer: Any,
        *,
        score: Score,
        offset: float,
        held_out_score: Score | None,
        prompts: Prompts,
        config: PPOConfig,
        seed: int,
        work: Path,
        style: Literal["auto", "transcript", "chat"] = "auto",
        engine_batch_size: int = 128,
    ):
        if processes.sharding():
            raise InputError(
                "PPO samples from its policy between steps, which is not done of weights that are "
                "sharded: use the configuration 'ddp'"
            )
        processes.divided(config.batch_size, "batch_size")
        self._rows_at_once = processes.divided(config.minibatch_size, "minibatch_size")
        self._config, self._seed, self._work = config, seed, work
        self._score, self._offset, self._held_out = score, offset, held_out_score
        self._prompts, self._tokenizer = prompts, tokenizer
        self._accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self._networks = networks
        self._batching = Batching.of(networks.policy, networks.critic.trunk)
        self._watch = StepWatch(partial(checkpoint.newest_of, work))
        self._learner = Learner(networks, config, self._accelerator, seed=seed, watch=self._watch)
        self._engine = LocalEngine(
            self._learner.parts["policy"],
            tokenizer,
            name="policy",
            style=style,
            batch_size=engine_batch_size,
        )
        self._history: list[StepMetrics] = []

    def train(self, progress: Progress, title: str = "PPO") -> PPOReport:
        """Train to the end or to a stop rule; goes on from the last checkpoint."""
        self._work.mkdir(parents=True, exist_ok=True)
        state = checkpoint.restore(self._work, self._learner.parts, self._snapshots, progress)
        start = 0 if state is None else int(state["step"])
        self._history = [] if state is None else [StepMetrics(**e) for e in state["history"]]
        ended = stop_reason(self._history, self._config)
        with progress.task(title, total=self._config.steps, done=start) as advance:
            for step in range(start, self._config.steps):
                if ended:
                    break
                self._history.append(self._step(step))
                if processes.is_main():
                    self._write_history()
                ended = stop_reason(self._history, self._config)
                self._keep(step + 1, last=bool(ended))
                advance(1)
        progress.note(f"{title}: {_time_split(self._history)}")
        return PPOReport(
            steps=len(self._history),
            ended=ended or "all steps done",
            history=tuple(self._history),
        )

    def save_policy(self, folder: Path) -> None:
        """The policy as a plain Hugging Face folder."""
        self._networks.save_policy(folder)
        self._tokenizer.save_pretrained(folder)

    # --- one step, in order -------------------------------------------------------------------

    def _step(self, step: int) -> StepMetrics:
        clock = _Clock()
        config = self._config
        # 1. draw prompts, and let the policy answer them
        prompts = self._prompts.batch(step, config.batch_size, config.red_team_share, self._seed)
        rows = processes.share(range(len(prompts)))
        mine = [prompts[row] for row in rows]
        with clock("sample"), self._watch.sampling(step + 1, prompts):
            sampled = sample_answers(
                self._engine, mine, step, config.max_new_tokens, self._seed, first=rows[0]
            )
        # 2. score the answers
        with clock("score"):
            answers = [
                (prompt.conversation, completion.text.strip())
                for prompt, completion in zip(mine, sampled, strict=True)
            ]
            with self._networks.scoring():
                scores = _of_all(self._score(answers))
            held_out = None
            if self._held_out is not None:
                held_out = _of_all(self._held_out(answers)).mean().item()
            completions = processes.gathered(sampled)
            texts = [completion.text for completion in completions]
            self._watch.scores(scores.tolist(), texts, step + 1, prompts)
        # 3. log-probabilities under policy and reference, values, rewards, advantages
        with clock("forward"):
            batch = collate(self._tokenizer, self._engine, prompts, completions, self._batching).to(
                self._accelerator.device
            )
            centred = (scores - self._offset).to(self._accelerator.device)
            with self._batching.attention(*self._networks.models):
                rollouts, metrics = self._prepare(batch, centred)
        # 4. K passes of minibatches over the batch
        with clock("update"), self._batching.attention(*self._networks.models):
            metrics |= self._learner.learn(rollouts, step, prompts)
        trained = {name: self._learner.parts[name] for name in ("policy", "critic")}
        self._watch.weights(trained, step + 1, prompts)
        return StepMetrics(
            step=step + 1,
            reward=scores.mean().item(),
            reward_held_out=held_out,
            response_length=batch.mask.sum(1).float().mean().item(),
            end_of_text_rate=sum(c.ended == "eos" for c in completions) / len(completions),
            engine_gap=_engine_gap(rollouts, completions),
            seconds=clock.seconds,
            **metrics,
        )

    @torch.no_grad()
    def _prepare(self, batch: Batch, scores: Tensor) -> tuple[Rollouts, dict[str, float]]:
        policy, reference, values, entropies = [], [], [], []
        mine = torch.tensor(processes.share(range(len(scores))))
        for rows in chunks(mine, self._rows_at_once):
            part = batch.rows(rows)
            logits = response_logits(self._learner.policy, part)
            policy.append(logprobs_of(logits, part))
            entropies.append(part.spread(entropy(logits)))
            reference.append(logprobs_of(self._networks.reference_logits(part), part))
            values.append(self._learner.critic(part))
        old, base, value, entropies_of = (
            self._accelerator.gather(torch.cat(parts))
            for parts in (policy, reference, values, entropies)
        )
        mask = batch.mask
        rewards = token_rewards(
            scores, kl_k1(old, base), mask, kl_coefficient=self._config.kl_coefficient
        )
        advantage = advantages(rewards, value, mask, gamma=self._config.gamma, lam=self._config.lam)
        returns = torch.where(mask, advantage + value, 0.0)
        metrics = {
            "kl_k1": _per_answer(kl_k1(old, base), mask),
            "kl_k3": _per_answer(kl_k3(old, base), mask),
            "entropy": masked_mean(entropies_of, mask).item(),
            "explained_variance": explained_variance(value, returns, mask).item(),
        }
        return Rollouts(batch, old, value, whiten(advantage, mask), returns), metrics

    # --- stopping, keeping, going on ----------------------------------------------------------

    def _keep(self, step: int, *, last: bool) -> None:
        if not processes.is_main():
            return
        config = self._config
        if config.snapshot_steps and (step % config.snapshot_steps == 0 or last):
            self.save_policy(self._snapshots / f"step-{step}")
            mark_snapshot(self._snapshots, step)
        if step % config.checkpoint_steps == 0 or step == config.steps or last:
            state = {"history": [asdict(entry) for entry in self._history]}
            checkpoint.save(self._work, step, self._learner.parts, state)

    @property
    def _snapshots(self) -> Path:
        return self._work / "snapshots"

    def _write_history(self) -> None:
        """For whoever follows the training; what it goes on from is in its checkpoints."""
        text = "".join(json.dumps(asdict(entry)) + "\n" for entry in self._history)
        partial = self._work / f"{HISTORY}.partial"
        partial.write_text(text)
        partial.rename(self._work / HISTORY)


def _of_all(scores: Sequence[float]) -> Tensor:
    """The scores that every process has of its share, (batch,)."""
    return torch.tensor(processes.gathered(list(scores)), dtype=torch.float32)


def _per_answer(values: Tensor, mask: Tensor) -> float:
    """The sum over an answer's tokens, averaged over answers."""
    return torch.where(mask, values, 0.0).sum(1).mean().item()


def _engine_gap(rollouts: Rollouts, completions: Sequence[Completion]) -> float:
    """The mean absolute difference between the engine's log-probs and the trainer's."""
    gaps = [
        (torch.tensor(completion.logprobs) - row[: completion.tokens].cpu()).abs().mean()
        for completion, row in zip(completions, rollouts.old_logprobs, strict=True)
    ]
    return torch.stack(gaps).mean().item()


def _time_split(history: Sequence[StepMetrics]) -> str:
    """The seconds of all steps by phase, as in "sample 9 s, score 5 s"."""
    phases = list(history[0].seconds) if history else []
    return ", ".join(
        f"{phase} {sum(entry.seconds[phase] for entry in history):.0f} s" for phase in phases
    )


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = round(time.perf_counter() - start, 3)

"""Proximal policy optimisation of a language model against a preference model.

One answer is one episode: the prompt is the first state, each token an action, the PM's score comes
at the end, and each token pays for its divergence from the frozen reference (Bai et al. 2022,
arXiv 2204.05862, s. 4.1 and App. B.1; Schulman et al. 2017, arXiv 1707.06347).

Where the papers are silent: advantages are whitened over the batch, the critic is a network of its
own that starts as the preference model, and both are trained with AdamW without weight decay.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines.base import Completion
from constitutional.engines.local import LocalEngine
from constitutional.errors import TrainingError
from constitutional.rl import checkpoint
from constitutional.rl.losses import (
    advantages,
    entropy,
    explained_variance,
    kl_k1,
    kl_k3,
    masked_mean,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)
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
from constitutional.runs.progress import Progress
from constitutional.runs.seeds import derive_seed

#: Scores of answers, one for each (conversation, answer).
Score = Callable[[Sequence[tuple[Conversation, str]]], Sequence[float]]

HISTORY = "history.jsonl"


class Critic(torch.nn.Module):
    """The value of every state: the preference model's trunk and head, read at each token.

    ``offset`` is the PM's stored mean, which is taken off every reward and so off the values.
    """

    def __init__(self, preference_model: Any, offset: float):
        super().__init__()
        self.trunk = preference_model.base_model
        self.head = preference_model.score
        self.offset = offset

    def forward(self, batch: Batch) -> Tensor:
        """Values (batch, R) of the states before each response token."""
        hidden = self.trunk(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state
        width = batch.responses.shape[1]
        values: Tensor = self.head(hidden[:, -width - 1 : -1])[..., 0] - self.offset
        return values


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


@dataclass(frozen=True)
class _Rollouts:
    """A batch with all that the update needs; tensors are (batch, R), scores (batch,)."""

    batch: Batch
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor


class PPO:
    """A training that can be stopped anywhere and goes on from its last checkpoint in ``work``.

    ``policy`` is trained in place; ``score`` is the preference model's raw score and ``offset`` its
    stored mean; ``held_out_score`` a preference model that was trained on other comparisons, which
    nothing is optimised against.
    """

    def __init__(
        self,
        policy: Any,
        tokenizer: Any,
        preference_model: Any,
        *,
        score: Score,
        offset: float,
        held_out_score: Score | None,
        prompts: Prompts,
        config: PPOConfig,
        seed: int,
        work: Path,
        engine_batch_size: int = 128,
    ):
        self._config, self._seed, self._work = config, seed, work
        self._score, self._offset, self._held_out = score, offset, held_out_score
        self._prompts, self._tokenizer = prompts, tokenizer
        self._accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self._reference = copy.deepcopy(policy).eval().requires_grad_(False)
        self._reference.to(self._accelerator.device)
        critic = Critic(copy.deepcopy(preference_model), offset)
        self._policy, self._policy_optimizer = self._prepared(policy, config.learning_rate)
        self._critic, self._critic_optimizer = self._prepared(critic, config.critic_learning_rate)
        self._engine = LocalEngine(
            self._accelerator.unwrap_model(self._policy),
            tokenizer,
            name="policy",
            batch_size=engine_batch_size,
        )
        self._history: list[StepMetrics] = []

    def train(self, progress: Progress, title: str = "PPO") -> PPOReport:
        """Train to the end or to a stop rule; goes on from the last checkpoint."""
        self._work.mkdir(parents=True, exist_ok=True)
        state = checkpoint.restore(self._work, self._parts)
        start = 0 if state is None else int(state["step"])
        self._history = self._read_history(start)
        ended = stop_reason(self._history, self._config)
        with progress.task(title, total=self._config.steps, done=start) as advance:
            for step in range(start, self._config.steps):
                if ended:
                    break
                self._history.append(self._step(step))
                self._write_history()
                ended = stop_reason(self._history, self._config)
                self._keep(step + 1, last=bool(ended))
                advance(1)
        return PPOReport(
            steps=len(self._history),
            ended=ended or "all steps done",
            history=tuple(self._history),
        )

    def save_policy(self, folder: Path) -> None:
        """The policy as a plain Hugging Face folder."""
        self._accelerator.unwrap_model(self._policy).save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    # --- one step, in order -------------------------------------------------------------------

    def _step(self, step: int) -> StepMetrics:
        clock = _Clock()
        config = self._config
        # 1. draw prompts, and let the policy answer them
        prompts = self._prompts.batch(step, config.batch_size, config.red_team_share, self._seed)
        with clock("sample"):
            completions = sample_answers(
                self._engine, prompts, step, config.max_new_tokens, self._seed
            )
        # 2. score the answers
        with clock("score"):
            answers = [
                (prompt.conversation, completion.text.strip())
                for prompt, completion in zip(prompts, completions, strict=True)
            ]
            scores = torch.tensor(list(self._score(answers)), dtype=torch.float32)
            held_out = None
            if self._held_out is not None:
                held_out = float(torch.tensor(list(self._held_out(answers))).mean())
        # 3. log-probabilities under policy and reference, values, rewards, advantages
        with clock("forward"):
            batch = collate(self._tokenizer, self._engine, prompts, completions)
            batch = batch.to(self._accelerator.device)
            centred = (scores - self._offset).to(self._accelerator.device)
            rollouts, metrics = self._prepare(batch, centred)
        # 4. K passes of minibatches over the batch
        with clock("update"):
            metrics |= self._update(rollouts, step, prompts)
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
    def _prepare(self, batch: Batch, scores: Tensor) -> tuple[_Rollouts, dict[str, float]]:
        policy, reference, values, entropies = [], [], [], []
        for rows in _chunks(torch.arange(len(scores)), self._config.minibatch_size):
            part = batch.rows(rows)
            logits = response_logits(self._policy, part)
            policy.append(logprobs_of(logits, part.responses))
            entropies.append(entropy(logits))
            reference.append(logprobs_of(response_logits(self._reference, part), part.responses))
            values.append(self._critic(part))
        old, base, value = torch.cat(policy), torch.cat(reference), torch.cat(values)
        mask = batch.mask
        rewards = token_rewards(
            scores, kl_k1(old, base), mask, kl_coefficient=self._config.kl_coefficient
        )
        advantage = advantages(rewards, value, mask, gamma=self._config.gamma, lam=self._config.lam)
        returns = torch.where(mask, advantage + value, 0.0)
        metrics = {
            "kl_k1": _per_answer(kl_k1(old, base), mask),
            "kl_k3": _per_answer(kl_k3(old, base), mask),
            "entropy": masked_mean(torch.cat(entropies), mask).item(),
            "explained_variance": explained_variance(value, returns, mask).item(),
        }
        return _Rollouts(batch, old, value, whiten(advantage, mask), returns), metrics

    def _update(
        self, rollouts: _Rollouts, step: int, prompts: Sequence[PromptRecord]
    ) -> dict[str, float]:
        sums = {"policy_loss": 0.0, "value_loss": 0.0, "clip_share": 0.0}
        updates = 0
        for epoch in range(self._config.epochs):
            generator = torch.Generator().manual_seed(
                derive_seed(self._seed, "minibatches", step, epoch)
            )
            order = torch.randperm(len(prompts), generator=generator)
            for rows in _chunks(order, self._config.minibatch_size):
                found = self._minibatch(rollouts, rows)
                if not all(map(_is_finite, found.values())):
                    raise TrainingError(
                        f"step {step + 1} of PPO: the loss is not finite ({found}); the prompts of "
                        f"the minibatch are {', '.join(prompts[i].id for i in rows.tolist())}; the "
                        "last checkpoint is whole: try a lower learning rate"
                    )
                sums = {name: sums[name] + found[name] for name in sums}
                updates += 1
        return {name: total / updates for name, total in sums.items()}

    def _minibatch(self, rollouts: _Rollouts, rows: Tensor) -> dict[str, float]:
        config, batch = self._config, rollouts.batch.rows(rows)
        logprobs = logprobs_of(response_logits(self._policy, batch), batch.responses)
        policy = policy_loss(
            logprobs,
            rollouts.old_logprobs[rows],
            rollouts.advantages[rows],
            batch.mask,
            clip=config.clip,
        )
        value = value_loss(
            self._critic(batch),
            rollouts.old_values[rows],
            rollouts.returns[rows],
            batch.mask,
            clip=config.value_clip,
        )
        for model, optimizer, loss in (
            (self._policy, self._policy_optimizer, policy.loss),
            (self._critic, self._critic_optimizer, value),
        ):
            self._accelerator.backward(loss)
            self._accelerator.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        return {
            "policy_loss": policy.loss.item(),
            "value_loss": value.item(),
            "clip_share": policy.clip_share.item(),
        }

    # --- stopping, keeping, going on ----------------------------------------------------------

    def _keep(self, step: int, *, last: bool) -> None:
        config = self._config
        if config.snapshot_steps and (step % config.snapshot_steps == 0 or last):
            self.save_policy(self._work / "snapshots" / f"step-{step}")
        if step % config.checkpoint_steps == 0 or step == config.steps or last:
            checkpoint.save(self._work, step, self._parts, {})

    @property
    def _parts(self) -> dict[str, Any]:
        unwrap = self._accelerator.unwrap_model
        return {
            "policy": unwrap(self._policy),
            "critic": unwrap(self._critic),
            "policy_optimizer": self._policy_optimizer.optimizer,
            "critic_optimizer": self._critic_optimizer.optimizer,
        }

    def _prepared(self, model: Any, learning_rate: float) -> tuple[Any, Any]:
        # dropout off: log-probs of the same tokens must be equal from pass to pass
        model.eval()
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.0)
        prepared: tuple[Any, Any] = self._accelerator.prepare(model, optimizer)
        return prepared

    def _read_history(self, steps: int) -> list[StepMetrics]:
        path = self._work / HISTORY
        if not steps:
            return []
        lines = path.read_text().splitlines()[:steps]
        return [StepMetrics(**json.loads(line)) for line in lines]

    def _write_history(self) -> None:
        text = "".join(json.dumps(asdict(entry)) + "\n" for entry in self._history)
        partial = self._work / f"{HISTORY}.partial"
        partial.write_text(text)
        partial.rename(self._work / HISTORY)


def _chunks(rows: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _per_answer(values: Tensor, mask: Tensor) -> float:
    """The sum over an answer's tokens, averaged over answers."""
    return torch.where(mask, values, 0.0).sum(1).mean().item()


def _engine_gap(rollouts: _Rollouts, completions: Sequence[Completion]) -> float:
    """The mean absolute difference between the engine's log-probs and the trainer's."""
    gaps = [
        (torch.tensor(completion.logprobs) - row[: completion.tokens].cpu()).abs().mean()
        for completion, row in zip(completions, rollouts.old_logprobs, strict=True)
    ]
    return torch.stack(gaps).mean().item()


def _is_finite(value: float) -> bool:
    return value - value == 0


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = round(time.perf_counter() - start, 3)

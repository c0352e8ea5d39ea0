"""PPO's update: what policy and critic learn from a batch of scored answers.

Nothing that one learns depends on what the other learns, so that on a CPU they learn at the same
time where they share no weights, each with half of the threads: a small network does not keep all
of them busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from constitutional import processes
from constitutional.dialogue import PromptRecord
from constitutional.rl.losses import PolicyLoss, policy_loss, value_loss
from constitutional.rl.networks import Critic, Networks
from constitutional.rl.rollout import Batch, logprobs_of, response_logits
from constitutional.rl.settings import PPOConfig
from constitutional.rl.watch import StepWatch
from constitutional.runs.seeds import derive_seed
from constitutional.training import recompute_activations

First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True)
class Rollouts:
    """A batch with all that the update needs; tensors are (batch, R)."""

    batch: Batch
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, chosen: Tensor) -> Rollouts:
        """Some of the rows."""
        return Rollouts(
            self.batch.rows(chosen),
            self.old_logprobs[chosen],
            self.old_values[chosen],
            self.advantages[chosen],
            self.returns[chosen],
        )


class Learner:
    """Policy and critic with their optimisers, prepared for the processes that there are."""

    def __init__(
        self,
        networks: Networks,
        config: PPOConfig,
        accelerator: Accelerator,
        *,
        seed: int,
        watch: StepWatch | None = None,
    ):
        self._watch = watch or StepWatch()
        self._config, self._accelerator, self._seed = config, accelerator, seed
        self.policy, self._policy_optimizer = self._prepared(networks.policy, config.learning_rate)
        self.critic, self._critic_optimizer = self._prepared(
            networks.critic, config.critic_learning_rate
        )
        on_cpu = accelerator.device.type == "cpu"
        alone = processes.count() == 1  # gradients are exchanged in the same order everywhere
        self._at_once = AtOnce() if on_cpu and alone and networks.apart else None

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        unwrap = self._accelerator.unwrap_model
        return {
            "policy": unwrap(self.policy),
            "critic": unwrap(self.critic),
            "policy_optimizer": self._policy_optimizer.optimizer,
            "critic_optimizer": self._critic_optimizer.optimizer,
        }

    def learn(
        self, rollouts: Rollouts, step: int, prompts: Sequence[PromptRecord]
    ) -> dict[str, float]:
        """K passes of minibatches over the batch; returns the means of what they report.

        Raises TrainingError where a loss or the norm of a gradient is not finite; what has been
        learned of the batch is worth nothing then.
        """
        if self._config.gradient_checkpointing:
            _recompute(self.policy, self.critic)
        sums = {"policy_loss": 0.0, "value_loss": 0.0, "clip_share": 0.0}
        updates = 0
        for epoch in range(self._config.epochs):
            generator = torch.Generator().manual_seed(
                derive_seed(self._seed, "minibatches", step, epoch)
            )
            order = torch.randperm(len(prompts), generator=generator)
            for rows in chunks(order, self._config.minibatch_size):
                found = self._minibatch(rollouts, rows)
                if not all(map(_is_finite, found.values())):
                    told = ", ".join(f"{name} {value:g}" for name, value in found.items())
                    raise self._watch.wrong(
                        f"step {step + 1}: a number of PPO is not finite ({told})",
                        [prompts[i] for i in rows.tolist()],
                    )
                sums = {name: sums[name] + found[name] for name in sums}
                updates += 1
        return {name: total / updates for name, total in sums.items()}

    def _minibatch(self, rollouts: Rollouts, rows: Tensor) -> dict[str, float]:
        everyone = rollouts.batch.mask[rows].sum()
        mine = rollouts.rows(torch.tensor(processes.share(rows.tolist())))
        # what a mean over this process's tokens counts in the mean over those of all processes,
        # whose gradients are averaged
        weight = processes.count() * mine.batch.mask.sum() / everyone

        def policy_learns() -> tuple[PolicyLoss, Tensor]:
            return self._policy_learns(mine, weight)

        def critic_learns() -> tuple[Tensor, Tensor]:
            return self._critic_learns(mine, weight)

        if self._at_once is None:
            (policy, by_policy), (value, by_critic) = policy_learns(), critic_learns()
        else:
            _ = mine.batch.states  # is worked out once, for both
            (policy, by_policy), (value, by_critic) = self._at_once(policy_learns, critic_learns)
        of_mine = torch.stack([policy.loss, value, policy.clip_share]).detach() * weight
        means = self._accelerator.reduce(of_mine, "mean").tolist()
        found = dict(zip(("policy_loss", "value_loss", "clip_share"), means, strict=True))
        norms = {"policy_gradient": by_policy.item(), "critic_gradient": by_critic.item()}
        return found | norms

    def _policy_learns(self, rollouts: Rollouts, weight: Tensor) -> tuple[PolicyLoss, Tensor]:
        """The loss, and the norm of its gradient."""
        batch = rollouts.batch
        found = policy_loss(
            logprobs_of(response_logits(self.policy, batch), batch),
            rollouts.old_logprobs,
            rollouts.advantages,
            batch.mask,
            clip=self._config.clip,
        )
        return found, self._step(self.policy, self._policy_optimizer, found.loss * weight)

    def _critic_learns(self, rollouts: Rollouts, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the norm of its gradient."""
        found = value_loss(
            self.critic(rollouts.batch),
            rollouts.old_values,
            rollouts.returns,
            rollouts.batch.mask,
            clip=self._config.value_clip,
        )
        return found, self._step(self.critic, self._critic_optimizer, found * weight)

    def _step(self, model: Any, optimizer: Any, loss: Tensor) -> Tensor:
        """One step of one network, right after its forward pass: they may share a base.

        Returns the norm of the gradient before it was clipped.
        """
        self._accelerator.backward(loss)
        most = self._config.max_grad_norm
        norm: Tensor = self._accelerator.clip_grad_norm_(model.parameters(), most)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def _prepared(self, model: Any, learning_rate: float) -> tuple[Any, Any]:
        # dropout off: log-probs of the same tokens must be equal from pass to pass
        model.eval()
        if self._config.gradient_checkpointing:
            recompute_activations(model.trunk if isinstance(model, Critic) else model)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=0.0, fused=True)
        prepared: tuple[Any, Any] = self._accelerator.prepare(model, optimizer)
        return prepared


class AtOnce:
    """Two computations at the same time, each with half of torch's threads on the CPU.

    Of one thread there is no half: then one comes after the other.
    """

    def __init__(self) -> None:
        self._other = ThreadPoolExecutor(1, thread_name_prefix="at-once")

    def __call__(
        self, first: Callable[[], First], second: Callable[[], Second]
    ) -> tuple[First, Second]:
        """What both return; an error of either is raised when both have ended."""
        threads = torch.get_num_threads()
        if threads == 1:
            return first(), second()

        def with_half(work: Callable[[], Any]) -> Any:
            torch.set_num_threads(threads // 2)  # of the thread that says so
            return work()

        begun = self._other.submit(with_half, second)
        try:
            found: First = with_half(first)
        finally:
            wait([begun])
            torch.set_num_threads(threads)
        return found, begun.result()


def chunks(rows: Tensor, size: int) -> Iterator[Tensor]:
    """``rows`` in parts of ``size``, the last of which may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _recompute(*models: Any) -> None:
    """Have the layers compute again what they do not keep; dropout, inside of them, stays off."""
    for model in models:
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.training = True


def _is_finite(value: float) -> bool:
    return value - value == 0

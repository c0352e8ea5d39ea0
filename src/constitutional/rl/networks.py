"""The four networks of PPO, and which of them share their weights.

Policy and critic are trained; the reference and the preference model stay as they were. Whole, each
has weights of its own. With adapters (LoRA) the reference is the policy without its adapters, and
the preference model is the critic without its own, so that two networks are in memory and not four,
and gradients and optimiser states are those of the adapters and the value head alone. Where policy
and preference model come of one base, that alone is in memory: :mod:`constitutional.rl.one_base`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from constitutional.adapters import merged, with_adapters
from constitutional.engines.loading import without_bars
from constitutional.rl.rollout import Batch, response_logits
from constitutional.runs.seeds import derive_seed
from constitutional.training_settings import LoraSettings


class Critic(torch.nn.Module):
    """The value of every state: the preference model's trunk and head, read at each token.

    ``offset`` is the PM's stored mean, which is taken off every reward and so off the values.
    """

    def __init__(self, trunk: Any, head: Any, offset: float):
        super().__init__()
        self.trunk, self.head, self.offset = trunk, head, offset

    def forward(self, batch: Batch) -> Tensor:
        """Values (batch, R) of the states before each response token; 0 behind them."""
        hidden = batch.together.forward(self.trunk, read_at=batch.states).last_hidden_state
        values = self.head(hidden.flatten(0, 1)[batch.states])[:, 0] - self.offset
        return batch.spread(values)


class Networks(Protocol):
    """What PPO asks of its networks. ``policy`` and ``critic`` are modules that it trains."""

    policy: Any
    critic: Critic
    #: Whether policy and critic have no module in common, so that they can learn at the same time.
    apart: bool

    @property
    def models(self) -> tuple[Any, ...]:
        """All models that batches go through."""
        ...

    def reference_logits(self, batch: Batch) -> Tensor:
        """Logits (tokens, vocabulary) of the policy as it was in the beginning."""
        ...

    def scoring(self) -> Any:
        """A context in which the preference model scores as it was in the beginning."""
        ...

    def save_policy(self, folder: Path) -> None:
        """The policy as a plain Hugging Face folder."""
        ...


def begin_networks(
    policy: Any,
    preference_model: Any,
    offset: float,
    lora: LoraSettings | None,
    seed: int,
    plain: Callable[[], Any] | None = None,
) -> Networks:
    """The networks as PPO begins: whole, or with adapters where ``lora`` says of what size.

    ``offset`` is the preference model's stored mean. ``plain`` loads the policy once more in its
    own number format, where it is here in fewer bits.
    """
    if lora is None:
        return WholeNetworks(policy, preference_model, offset)
    return AdapterNetworks(policy, preference_model, offset, lora, seed, plain)


class WholeNetworks:
    """Each network with weights of its own. ``policy`` is trained in place."""

    apart = True

    def __init__(self, policy: Any, preference_model: Any, offset: float):
        self.policy = policy
        self._reference = copy.deepcopy(policy).eval().requires_grad_(False)
        began = copy.deepcopy(preference_model)
        self.critic = Critic(began.base_model, began.score, offset)

    @property
    def models(self) -> tuple[Any, ...]:
        """Policy, reference and critic."""
        return self.policy, self._reference, self.critic.trunk

    def reference_logits(self, batch: Batch) -> Tensor:
        """Of the copy that was made in the beginning."""
        return response_logits(self._reference.to(batch.mask.device), batch)

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Nothing to do: the preference model is not what is trained."""
        yield

    def save_policy(self, folder: Path) -> None:
        """The policy's weights as they are."""
        with without_bars():
            self.policy.save_pretrained(folder)


class AdapterNetworks:
    """Two networks with adapters, which are trained with the value head; the rest is frozen.

    ``policy`` and ``preference_model`` get their adapters in place. Raises MissingExtraError where
    peft is not installed.
    """

    apart = True

    def __init__(
        self,
        policy: Any,
        preference_model: Any,
        offset: float,
        lora: LoraSettings,
        seed: int,
        plain: Callable[[], Any] | None,
    ):
        self._lora, self._plain = lora, plain
        trunk = preference_model.base_model
        self._policy = with_adapters(policy, lora, derive_seed(seed, "policy"), what="PPO")
        self._critic = with_adapters(trunk, lora, derive_seed(seed, "critic"), what="PPO")
        preference_model.score.requires_grad_(False)
        self.policy = policy
        head = copy.deepcopy(preference_model.score).requires_grad_(True)
        self.critic = Critic(trunk, head, offset)

    @property
    def models(self) -> tuple[Any, ...]:
        """Policy and critic."""
        return self.policy, self.critic.trunk

    def reference_logits(self, batch: Batch) -> Tensor:
        """Of the policy without its adapters."""
        with self._policy.disable_adapter():
            return response_logits(self.policy, batch)

    def scoring(self) -> Any:
        """The critic's trunk without its adapters is the preference model's."""
        return self._critic.disable_adapter()

    def save_policy(self, folder: Path) -> None:
        """The policy with its adapters merged in, and the adapters alone in ``folder/adapter``."""
        if self._plain is None:
            whole = copy.deepcopy(self._policy).merge_and_unload()
        else:
            whole = merged(self._policy, self._lora, self._plain)
        with without_bars():
            whole.save_pretrained(folder)
            self._policy.save_pretrained(folder / "adapter")

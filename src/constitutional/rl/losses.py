"""The mathematics of PPO on text: pure functions of tensors.

All tensors are (batch, response) unless said otherwise, responses right-padded. ``mask`` is True on
tokens that the policy emitted, the end of the text included. Padding can hold anything, NaN too: it
reaches no result.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over True tokens, a scalar. Raises ValueError when there are none."""
    count = mask.sum()
    if count == 0:
        raise ValueError("the mean of no tokens is not a number")
    return torch.where(mask, values, 0.0).sum() / count


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """The estimate log p - log q of KL(p||q) at tokens drawn from p; unbiased, may be negative.

    k1 of Schulman, "Approximating KL divergence" (2020).
    """
    return logprobs - reference


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """The estimate r - 1 - log r with r = q/p: unbiased, never negative, of less variance (k3)."""
    log_ratio = reference - logprobs
    return log_ratio.exp() - 1 - log_ratio


def token_rewards(score: Tensor, kl: Tensor, mask: Tensor, *, kl_coefficient: float) -> Tensor:
    """``-kl_coefficient * kl`` at each token, and the PM's ``score`` (batch,) at the last one.

    Bai et al. 2022 (arXiv 2204.05862, s. 4.1): r = r_PM - lambda D_KL. The paper does not say
    whether its KL is per token or per sequence; per token is the same sum, credited where it
    arises.
    """
    lengths = mask.sum(dim=1)
    if (lengths == 0).any():
        raise ValueError("a response has no token to reward")
    rewards = torch.where(mask, -kl_coefficient * kl, 0.0)
    last = (lengths - 1)[:, None]
    return rewards.scatter_add(1, last, score[:, None].to(rewards.dtype))


def advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2015, arXiv 1506.02438, eq. 16).

    An episode ends at its last True; what comes after has value 0. Not whitened here.
    """
    out = torch.zeros_like(rewards)
    running = next_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        here = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        # where, not a product with the mask: NaN * 0 is NaN
        running = torch.where(here, delta + gamma * lam * running, 0.0)
        next_value = torch.where(here, values[:, t], 0.0)
        out[:, t] = running
    return out


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shifted and scaled to mean 0 and deviation 1 over True tokens; 0 elsewhere."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return torch.where(mask, (values - mean) / (variance + 1e-8).sqrt(), 0.0)


class PolicyLoss(NamedTuple):
    """The loss, a scalar, and the share of tokens at which the clip decided."""

    loss: Tensor
    clip_share: Tensor


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantage: Tensor, mask: Tensor, *, clip: float
) -> PolicyLoss:
    """PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7), to be minimised."""
    ratio = torch.where(mask, logprobs - old_logprobs, 0.0).exp()
    plain = -advantage * ratio
    clipped = -advantage * ratio.clamp(1 - clip, 1 + clip)
    return PolicyLoss(
        masked_mean(torch.maximum(plain, clipped), mask),
        masked_mean((clipped > plain).float(), mask),
    )


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip: float
) -> Tensor:
    """Half the squared error, the larger of plain and clipped (as in OpenAI's ppo2), a scalar."""
    near = old_values + (values - old_values).clamp(-clip, clip)
    worse = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    return 0.5 * masked_mean(worse, mask)


def entropy(logits: Tensor) -> Tensor:
    """Of each distribution, in nats: (..., vocabulary) to (...)."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over True tokens; 0 where returns do not vary."""

    def variance(x: Tensor) -> Tensor:
        return masked_mean((x - masked_mean(x, mask)) ** 2, mask)

    total = variance(returns)
    return torch.where(total > 0, 1 - variance(returns - values) / total.clamp(min=1e-12), 0.0)

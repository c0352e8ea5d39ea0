"""PPO's functions against plain sums, and against what padding could do to them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

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

LENGTHS = (5, 1, 3)


def ragged(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values (3, 5) and the mask of rows of 5, 1 and 3 tokens."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    return rewards, values, mask


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_gae_is_the_discounted_sum_of_td_errors(gamma: float, lam: float) -> None:
    """The definition, an O(T^2) sum: A_t = sum_k (gamma lam)^k delta_{t+k}."""
    rewards, values, mask = ragged(0)
    found = advantages(rewards, values, mask, gamma=gamma, lam=lam)
    for row, length in enumerate(LENGTHS):
        r, v = rewards[row].tolist(), [*values[row, :length].tolist(), 0.0]
        deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** k * d for k, d in enumerate(deltas[t:]))
            assert found[row, t].item() == pytest.approx(expected, abs=1e-12)
        assert found[row, length:].abs().sum() == 0


def test_the_limits_of_gae() -> None:
    rewards, values, mask = ragged(1)
    monte_carlo = advantages(rewards, values, mask, gamma=1.0, lam=1.0)
    for row, length in enumerate(LENGTHS):
        to_go = rewards[row, :length].flip(0).cumsum(0).flip(0)
        assert torch.allclose(monte_carlo[row, :length], to_go - values[row, :length])


@pytest.mark.parametrize("filler", [math.nan, math.inf, 1e9])
def test_padding_reaches_nothing(filler: float) -> None:
    rewards, values, mask = ragged(2)
    new, old, returns = (torch.randn(3, 5, dtype=torch.float64) for _ in range(3))

    def everything(pad: float) -> list[Tensor]:
        r, v, n, o, q = (torch.where(mask, x, pad) for x in (rewards, values, new, old, returns))
        a = advantages(r, v, mask, gamma=1.0, lam=0.95)
        return [
            a,
            whiten(a, mask),
            policy_loss(n, o, a, mask, clip=0.2).loss,
            value_loss(v, o, q, mask, clip=0.2),
            masked_mean(kl_k3(n, o), mask),
            token_rewards(torch.ones(3), kl_k1(n, o), mask, kl_coefficient=0.1),
            explained_variance(v, q, mask),
        ]

    for clean, dirty in zip(everything(0.0), everything(filler), strict=True):
        assert torch.equal(clean, dirty)


def test_gradients_do_not_flow_through_padding() -> None:
    _, _, mask = ragged(3)
    logprobs = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    old = torch.where(mask, logprobs.detach() - 0.1, math.inf)
    policy_loss(logprobs, old, torch.ones(3, 5), mask, clip=0.2).loss.backward()  # type: ignore[no-untyped-call]
    assert logprobs.grad is not None
    assert torch.isfinite(logprobs.grad).all()
    assert logprobs.grad[~mask].abs().sum() == 0
    assert logprobs.grad[mask].abs().min() > 0


def test_clipped_policy_loss_by_hand() -> None:
    """Four tokens: ratio 1.5 and 0.5, advantage +1 and -1 each; clip 0.2."""
    ratio = torch.tensor([[1.5, 1.5, 0.5, 0.5]], dtype=torch.float64)
    advantage = torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    mask = torch.ones(1, 4, dtype=torch.bool)
    found = policy_loss(ratio.log(), torch.zeros(1, 4), advantage, mask, clip=0.2)
    # -min(1.5, 1.2); -min(-1.5, -1.2); -min(0.5, 0.8); -min(-0.5, -0.8)
    assert found.loss.item() == pytest.approx((-1.2 + 1.5 - 0.5 + 0.8) / 4)
    assert found.clip_share.item() == pytest.approx(0.5)


def test_clipped_value_loss_by_hand() -> None:
    values = torch.tensor([[1.0, 1.0]])
    old = torch.tensor([[0.0, 0.9]])
    returns = torch.tensor([[1.0, 2.0]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    # clipped to 0.2: error 0.8^2 against 0; not clipped: 1 and 1
    assert value_loss(values, old, returns, mask, clip=0.2).item() == pytest.approx(
        0.5 * (0.64 + 1.0) / 2
    )


def test_the_score_stands_at_the_last_token() -> None:
    mask = torch.arange(4) < torch.tensor([2, 4])[:, None]
    kl = torch.full((2, 4), 0.5)
    rewards = token_rewards(torch.tensor([3.0, -1.0]), kl, mask, kl_coefficient=0.1)
    expected = torch.tensor([[-0.05, 2.95, 0, 0], [-0.05, -0.05, -0.05, -1.05]])
    assert torch.allclose(rewards, expected)


def test_nothing_to_average_is_refused() -> None:
    empty = torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="no tokens"):
        masked_mean(torch.ones(2, 3), empty)
    with pytest.raises(ValueError, match="no token to reward"):
        token_rewards(torch.ones(2), torch.ones(2, 3), empty, kl_coefficient=0.1)


def test_kl_estimates_agree_with_the_sum_and_k3_is_never_negative() -> None:
    """50,000 draws from p: both estimates within 5 standard errors of the exact KL."""
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(2, 50, generator=generator, dtype=torch.float64) * 0.5).log_softmax(-1)
    exact = (p.exp() * (p - q)).sum().item()
    drawn = torch.multinomial(p.exp(), 50_000, replacement=True, generator=generator)
    for estimate in (kl_k1, kl_k3):
        values = estimate(p[drawn], q[drawn])
        error = values.std().item() / len(values) ** 0.5
        assert abs(values.mean().item() - exact) < 5 * error
    assert kl_k3(p[drawn], q[drawn]).min() >= 0
    assert kl_k3(p[drawn], q[drawn]).std() < kl_k1(p[drawn], q[drawn]).std()


def test_entropy_and_explained_variance() -> None:
    assert entropy(torch.zeros(3, 8)).tolist() == pytest.approx([math.log(8)] * 3)
    mask = torch.ones(1, 4, dtype=torch.bool)
    returns = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(torch.zeros(1, 4), returns, mask) == 0
    assert explained_variance(returns, torch.ones(1, 4), mask) == 0

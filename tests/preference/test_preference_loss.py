from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from constitutional.preference.loss import soft_preference_loss

POINTS = [(a, b, p) for a in (-3.0, 0.0, 1.5) for b in (-2.0, 0.0, 4.0) for p in (0, 0.3, 0.5, 1)]


def test_it_is_the_plain_sum() -> None:
    def by_hand(a: float, b: float, p: float) -> float:
        prob = math.exp(a) / (math.exp(a) + math.exp(b))
        return -p * math.log(prob) - (1 - p) * math.log(1 - prob)

    a, b, p = (torch.tensor(column, dtype=torch.float64) for column in zip(*POINTS, strict=True))
    found = soft_preference_loss(a, b, p)
    assert found.shape == (len(POINTS),)
    assert found.tolist() == pytest.approx([by_hand(*point) for point in POINTS], abs=1e-12)
    assert torch.allclose(found, binary_cross_entropy_with_logits(a - b, p, reduction="none"))


def test_at_certainty_it_is_the_pairwise_loss() -> None:
    a, b = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = torch.ones(50, dtype=torch.float64)
    pairwise = torch.log(1 + torch.exp(b - a))
    assert torch.allclose(soft_preference_loss(a, b, one), pairwise)
    assert torch.allclose(soft_preference_loss(b, a, 1 - one), pairwise)


def test_gradient_is_the_difference_of_the_probabilities() -> None:
    a = torch.tensor([0.3, -2.0], requires_grad=True)
    b, p = torch.tensor([1.0, 0.5]), torch.tensor([0.4, 0.9])
    soft_preference_loss(a, b, p).sum().backward()
    assert torch.allclose(a.grad, torch.sigmoid(a - b) - p)  # type: ignore[arg-type]


def test_it_stays_finite_and_exact_far_out() -> None:
    a = torch.tensor([1000.0, -1000.0, 1000.0, 30.0], requires_grad=True)
    b, p = torch.zeros(4), torch.tensor([1.0, 0.0, 0.0, 1.0])
    loss = soft_preference_loss(a, b, p)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0, 0, 1000, math.exp(-30)], rel=1e-5, abs=1e-30)
    assert torch.isfinite(a.grad).all()  # type: ignore[arg-type]

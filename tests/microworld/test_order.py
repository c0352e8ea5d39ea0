"""The order of examples in which the pretrained model that ships was made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from constitutional.microworld.midtraining import LikeLengths


def test_batches_hold_examples_of_like_length() -> None:
    lengths = [10 + 37 * n % 100 for n in range(400)]
    seeds = iter([1, 2, 1])
    sampler = LikeLengths(8, lengths=lengths, seed=lambda: next(seeds))
    orders = [list(sampler) for _ in range(3)]
    assert all(sorted(order) == list(range(400)) for order in orders)
    assert orders[0] == orders[2] != orders[1]

    def padding(order: Sequence[int]) -> float:
        batches = [[lengths[i] for i in order[at : at + 8]] for at in range(0, 400, 8)]
        return 1 - sum(lengths) / sum(8 * max(batch) for batch in batches)

    assert padding(orders[0]) < 0.1 < 0.3 < padding(range(400))


def test_long_batches_are_spread_over_the_pass() -> None:
    """Sorted runs, as the Trainer has them, would end on the short examples and forget the long."""
    lengths = [10 + n % 90 for n in range(720)]
    order = list(LikeLengths(8, lengths=lengths, seed=lambda: 5))
    means = [sum(lengths[i] for i in order[at : at + 8]) / 8 for at in range(0, 720, 8)]
    halves = [sum(means[:45]) / 45, sum(means[45:]) / 45]
    assert abs(halves[0] - halves[1]) < 15
    falls = sum(a > b for a, b in pairwise(means))
    assert 30 < falls < 60, "about half of 89; sorted runs fall nearly always"


def test_the_batches_are_those_of_the_sorted_sampler_in_another_order() -> None:
    """None is cut in two by the last one, which is smaller and stays last."""
    lengths = [10 + n % 90 for n in range(724)]

    def batches(order: list[int]) -> list[tuple[int, ...]]:
        return [tuple(order[at : at + 8]) for at in range(0, 724, 8)]

    plain = LengthGroupedSampler(8, lengths=lengths, generator=torch.Generator().manual_seed(5))
    expected = batches(list(plain))
    found = batches(list(LikeLengths(8, lengths=lengths, seed=lambda: 5)))
    assert found[-1] == expected[-1]
    assert len(found[-1]) == 4
    assert sorted(found) == sorted(expected)
    assert found != expected

"""The least that a machine needs for some work: arithmetic and bytes, each over its rate.

Counted is what the work itself asks for, whoever does it: each distinct beginning of a text once,
no padding, logits only where one is used. Rates are measured on the spot: of matrix products of the
model's own shapes, and of copies in memory. A share of the floor of 1 would be a program that
does nothing else at these rates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: AdamW reads a weight, its gradient and two moments, and writes the weight and the moments.
_OPTIMIZER_PASSES = 7


@dataclass(frozen=True)
class Shape:
    """The matrix products of a decoder of Llama's kind; sizes of rows and columns."""

    layers: int
    hidden: int
    attended: int
    key_value: int
    intermediate: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """That of a `transformers` configuration."""
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            attended=size * config.num_attention_heads,
            key_value=size * config.num_key_value_heads,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
        )

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of each matrix product of a layer."""
        return (
            (self.hidden, self.attended + 2 * self.key_value),
            (self.attended, self.hidden),
            (self.hidden, 2 * self.intermediate),
            (self.intermediate, self.hidden),
        )

    @property
    def weights(self) -> int:
        """Numbers in the matrices of all layers, without embeddings."""
        return self.layers * sum(rows * columns for rows, columns in self.products)


@dataclass(frozen=True)
class Need:
    """Floating-point operations, and bytes that have to be read and written."""

    flops: float
    bytes: float

    def __add__(self, other: Need) -> Need:
        return Need(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, count: float) -> Need:
        """The same work so many times."""
        return Need(self.flops * count, self.bytes * count)


@dataclass(frozen=True)
class Rates:
    """Floating-point operations and bytes (read and written) per second."""

    flops: float
    bytes: float


def distinct_positions(rows: Iterable[list[int]]) -> list[int]:
    """The position of each distinct beginning of the rows of ids: what any sharing must compute."""
    positions: list[int] = []
    before: list[int] = []
    for row in sorted(rows):
        shared = _shared(before, row)
        positions += range(shared, len(row))
        before = row
    return positions


def forward_flops(shape: Shape, positions: Iterable[int], heads: int) -> float:
    """Of a forward pass over tokens at these positions, each of which sees itself and all before.

    ``heads`` is at how many of them logits are computed.
    """
    count = seen = 0
    for position in positions:
        count += 1
        seen += position + 1
    products = 2 * shape.weights * count
    attention = 4 * shape.attended * shape.layers * seen
    return products + attention + 2 * shape.hidden * shape.vocabulary * heads


def training_flops(shape: Shape, lengths: Iterable[int], heads: int) -> float:
    """Of a forward and a backward pass over texts of these lengths: three forward passes."""
    positions = [position for length in lengths for position in range(length)]
    return 3 * forward_flops(shape, positions, heads)


def sampling_bytes(shape: Shape, contexts: Iterable[int], steps: int, width: int) -> float:
    """The weights once in each of ``steps``, and the keys and values before each sampled token.

    ``contexts`` counts those of its row alone, not those that all rows share; ``width`` is the
    bytes of a number.
    """
    weights = steps * (shape.weights + shape.hidden * shape.vocabulary)
    kept = 2 * shape.layers * shape.key_value * sum(contexts)
    return float(width * (weights + kept))


def optimizer_bytes(parameters: int, steps: int) -> float:
    """Of AdamW in float32."""
    return 4.0 * _OPTIMIZER_PASSES * parameters * steps


def measured_rates(shape: Shape, rows: int, device: str, dtype: str) -> Rates:
    """Rates of this machine now: products of ``rows`` rows with a layer's matrices, and copies."""
    import torch

    kind, place = getattr(torch, dtype), torch.device(device)
    inputs = [torch.randn(rows, size, dtype=kind, device=place) for size, _ in shape.products]
    weights = [torch.randn(*sizes, dtype=kind, device=place) for sizes in shape.products]
    flops = sum(2 * rows * size * columns for size, columns in shape.products)

    def layer() -> None:
        for given, weight in zip(inputs, weights, strict=True):
            torch.mm(given, weight)

    source = torch.empty(2**26, dtype=torch.float32, device=place).fill_(1.0)
    target = torch.empty_like(source)

    def wait() -> None:
        if place.type == "cuda":
            torch.cuda.synchronize()

    copied = 2 * source.numel() * source.element_size()
    return Rates(flops / _best(layer, wait), copied / _best(lambda: target.copy_(source), wait))


def _best(work: Callable[[], Any], wait: Callable[[], None], seconds: float = 0.4) -> float:
    """Seconds of one call of ``work``, the best of many runs: a floor is what can be had."""
    work()
    wait()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        for _ in range(4):
            work()
        wait()
        best = min(best, (time.perf_counter() - start) / 4)
    return best


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many first ids two rows share."""
    for position, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return position
    return min(len(first), len(second))

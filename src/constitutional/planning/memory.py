"""Bytes in memory, as this package computes: weights, gradients, optimiser, cache, activations.

Trainings hold weights, gradients and AdamW's two moments in float32: 16 bytes for each weight (as
in Rajbhandari et al. 2020, arXiv 1910.02054, s. 3.1, but for the 16-bit copies). What a layer keeps
for its backward pass was counted tensor by tensor on Llama in `transformers` with SDPA attention; a
test counts it again. The method is that of Korthikanti et al. 2022 (arXiv 2205.05198, s. 4).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from constitutional.engines.base import Quantize
from constitutional.planning.amounts import Amount, amount, between
from constitutional.planning.arithmetic import adapter_parameters
from constitutional.planning.shape import ModelShape
from constitutional.planning.work import BYTES, Format, Work

FLOAT32 = BYTES["float32"]
#: Of a weight in NF4, with its share of the block's scale, which is quantised too (Dettmers et al.
#: 2023, arXiv 2305.14314, s. 3): 4 + 8/64 + 32/(64 x 256).
QUANTIZED_BITS = 4.127

#: What activations take in the heap of a CPU process, whose freed pieces do not fit the next ones:
#: measured by ``benchmarks/planning.py`` with glibc's malloc. A GPU's allocator pools its blocks.
HEAP = 1.4
#: Activations under autocast against the same in float32: matrix products keep 16 bits, norms and
#: the residual stream 32.
AUTOCAST = between(0.5, 0.75, 1.0)


class Memory(BaseModel):
    """Bytes; ``weights`` are of all models that are there.

    ``peak``: the low end is what tensors need at the worst moment (gradients come as activations
    go), the estimate what the process takes for it, since freed memory is not all given back. What
    a process takes without any model (Python and torch: about 0.4 GB) is not in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Amount
    gradients: Amount
    optimiser: Amount
    kv_cache: Amount
    activations: Amount
    peak: Amount


def cache_bytes(shape: ModelShape, rows: int, positions: float, size: int) -> float:
    """Keys and values of ``rows`` sequences with ``positions`` each; ``size`` bytes a number.

    Grouped-query attention keeps ``kv_heads`` heads. A sliding window is counted as the whole, so
    for models that have one this is a bound from above.
    """
    return 2.0 * shape.layers * shape.kv_width * rows * positions * size


def kept_per_token(shape: ModelShape, length: float) -> float:
    """Numbers that the layers keep for the backward pass, for each token of a training.

    Per layer: 6 widths (input, norm and product of each of two norms), 4 widths of the attention
    (queries, keys, values as repeated for grouped queries, result) and the sums of its softmax, 4
    inner widths (gate, activation, other half, product), what norms of queries and keys add, and a
    row of the mask, which the batch's heads share.
    """
    attention = 4 * shape.attention_width + shape.heads + 2
    if shape.qk_norm:
        attention += 2 * (shape.attention_width + shape.kv_width) + shape.heads + shape.kv_heads
    inner = (4 if shape.gated else 2) * shape.inner
    norms = 3 * shape.norms * shape.width
    return shape.layers * (norms + attention + inner + length) + 3 * shape.width


def _kept(work: Work, length: float) -> float:
    """The same of a training that may recompute: what enters each layer, and all of one layer."""
    shape, whole = work.model, kept_per_token(work.model, length)
    return shape.layers * shape.width + whole / shape.layers if work.recomputes else whole


def passing_per_token(shape: ModelShape) -> float:
    """Numbers alive at once for each token in the widest place of a forward pass: the MLP."""
    return 2 * shape.width + (3 if shape.gated else 2) * shape.inner


def work_memory(work: Work, resident: float, *, gpu: bool) -> Memory:
    """The most that ``work`` holds, beside models that take ``resident`` bytes.

    For inference ``resident`` includes the model itself; a training loads its own.
    """
    if work.model.server is not None:
        none, there = amount(0), amount(resident)
        return Memory(
            weights=there,
            gradients=none,
            optimiser=none,
            kv_cache=none,
            activations=none,
            peak=there,
        )
    if work.kind == "train":
        return _training(work, resident, gpu=gpu)
    return _inference(work, resident)


def _inference(work: Work, resident: float) -> Memory:
    shape, size = work.model, BYTES[work.format]
    rows = min(work.batch, max(1, int(work.sequences.high)))
    parts = [_inference_parts(shape, rows, end, work.room, size) for end in work.longest.ends]
    # a preference model scores without a cache
    if work.kind == "read" and not work.language_model:
        parts = [(0.0, read, logits, 0.0) for _, read, logits, _ in parts]
    longest = work.longest.ends
    lows = [
        max(cache + written, cache * (1 - work.room / max(length, 1)) + read) + logits
        for length, (cache, read, logits, written) in zip(longest, parts, strict=True)
    ]
    sums = [sum(part) for part in parts]
    return Memory(
        weights=amount(resident),
        gradients=amount(0),
        optimiser=amount(0),
        kv_cache=between(*(cache for cache, *_ in parts)),
        activations=between(*(sum(rest) for _, *rest in parts)),
        peak=between(resident + lows[0], resident + sums[1], resident + sums[2]),
    )


def _inference_parts(
    shape: ModelShape, rows: int, length: float, room: int, size: int
) -> tuple[float, float, float, float]:
    """Bytes of the cache, of reading the prompts, of the logits, and of a step of writing.

    SDPA repeats the heads of grouped queries, and its plain path copies them: five times the
    queries' width for each position.
    """
    cache = cache_bytes(shape, rows, length, size)
    read = rows * max(length - room, 0.0) * passing_per_token(shape) * size
    logits = rows * shape.vocabulary * (4 * FLOAT32 + 8)  # of which float64 sums
    grouped = shape.kv_heads < shape.heads
    written = 5 * rows * length * shape.attention_width * size if grouped else 0.0
    return cache, read, logits, written


def model_memory(
    shape: ModelShape, format: Format, quantize: Quantize | None, *, trunk: bool = False
) -> float:
    """Bytes of a model; of its ``trunk``, without the matrix of the logits.

    In 4 bits the matrices of the layers alone are; the rest is in ``format``.
    """
    numbers = shape.trunk_parameters if trunk else shape.parameters
    small = shape.layers * shape.matrices if quantize else 0
    return small * QUANTIZED_BITS / 8 + (numbers - small) * BYTES[format]


def trained_weights(work: Work) -> float:
    """How many weights a training changes."""
    return sum(_changed(work))


def _changed(work: Work) -> tuple[float, float]:
    """Those of the one network, and of PPO's critic."""
    shape = work.model
    if work.lora:
        adapters = adapter_parameters(shape, work.lora.rank)
        return adapters, adapters if work.critic else 0
    one = shape.parameters if work.language_model else shape.trunk_parameters
    return one, shape.trunk_parameters if work.critic else 0


def training_weights(work: Work) -> float:
    """Bytes of the weights that a training has in memory of itself, frozen ones too."""
    if not work.lora:
        return trained_weights(work) * FLOAT32
    shape, lora = work.model, work.lora
    base = model_memory(shape, "float32", lora.quantize, trunk=not work.language_model)
    if work.bases == 2:
        base += model_memory(shape, "float32", lora.quantize, trunk=True)
    return base + work.adapters * adapter_parameters(shape, lora.rank) * FLOAT32


def _training(work: Work, resident: float, *, gpu: bool) -> Memory:
    changed = trained_weights(work)
    autocast = gpu and work.autocast
    # autocast keeps its copies of weights that learn, and makes those of frozen ones on the way
    copies = changed * BYTES["bfloat16"] if autocast else 0.0
    weights = resident + training_weights(work) + copies
    gradients, optimiser = max(_changed(work)) * FLOAT32, 2 * changed * FLOAT32
    activations = activation_bytes(work) * (AUTOCAST if autocast else 1)
    fewest = gradients
    if work.critic and work.apart and not gpu:
        # with more than one thread policy and critic learn at the same time; else, as on a GPU,
        # the critic's gradients come when those of the policy are gone
        both = activations + activation_bytes(work.model_copy(update={"language_model": False}))
        activations = between(activations.low, both.value, both.high)
        gradients = changed * FLOAT32
    # the backward pass begins with all activations and ends with all gradients; the parts of a
    # step that is added up begin with the gradients of those before
    least = activations.low + fewest
    if work.accumulate == 1:
        least = max(activations.low, fewest)
    states = weights + gradients + optimiser
    heap = 1.0 if gpu else HEAP
    return Memory(
        weights=amount(weights),
        gradients=amount(gradients),
        optimiser=amount(optimiser),
        kv_cache=amount(0),
        activations=activations,
        peak=between(
            weights + optimiser + least,
            states + heap * activations.value,
            states + HEAP * activations.high,
        ),
    )


def activation_bytes(work: Work) -> Amount:
    """What a batch of the longest sequences keeps for its backward pass, in float32."""
    tails = work.longest.ends if work.scored_tail is None else work.scored_tail.ends
    return between(
        *(
            _activations(work, length, min(tail, length))
            for length, tail in zip(work.longest.ends, tails, strict=True)
        )
    )


def _activations(work: Work, length: float, tail: float) -> float:
    tokens = work.batch * length
    kept = tokens * _kept(work, length)
    # log-probabilities, their gradient and that of the logits
    logits = 3 * work.batch * tail * work.model.vocabulary if work.language_model else 0.0
    return (kept + logits) * FLOAT32

"""Seconds that work takes: from rates that were measured here, or from a GPU's data sheet."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from constitutional.planning.amounts import Amount, amount, between
from constitutional.planning.arithmetic import forward_flops, logit_flops, work_flops
from constitutional.planning.hardware import GPUs
from constitutional.planning.memory import cache_bytes
from constitutional.planning.shape import ModelShape
from constitutional.planning.work import BYTES, Work

#: The share of the peak rate that large matrix products reach in training: 0.46 in PaLM (Chowdhery
#: et al. 2022, arXiv 2204.02311, table 3), 0.38 to 0.43 in Llama 3 (2024, arXiv 2407.21783, table
#: 4), each after much tuning; less without.
TRAINING_SHARE = between(0.2, 0.33, 0.45)
#: The same in reading prompts, and the share of the bandwidth in writing: assumptions.
READING_SHARE = between(0.2, 0.4, 0.6)
BANDWIDTH_SHARE = between(0.3, 0.5, 0.7)
#: Seconds that Python and the launch of kernels take for each layer of each step of writing, with
#: `transformers`: an assumption, after 0.4 ms on a CPU core.
DISPATCH = between(0.2e-3, 0.5e-3, 1e-3)
#: How far a measured rate may be off when it is used for other lengths and batches.
MEASURED = between(1 / 1.5, 1.0, 1.5)


class Rates(BaseModel):
    """Seconds for each token on this machine, as measured with ``model`` in full batches.

    ``read`` for a token of a prompt, ``write`` for a new one, ``train`` for one trained on; and
    ``step`` for what each step of a training takes whatever is in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelShape
    read: float
    write: float
    train: float
    step: float = 0.0

    def seconds(self, work: Work) -> Amount:
        """The time of ``work``; for another model the rates are scaled by its arithmetic."""
        if work.model.server is not None:
            return amount(0)  # nothing of it is measured here
        scale = _per_token(work.model) / _per_token(self.model)
        if work.kind == "train":
            each = self.train * (2 / 3 if work.lora else 1) * (2 if work.critic else 1)
            steps = work.sequences * (self.step / work.batch)
            return (work.prompt * (each * scale) + steps) * MEASURED
        return (work.prompt * self.read + work.new * self.write) * scale * MEASURED


def _per_token(shape: ModelShape) -> float:
    one = amount(1)
    return (forward_flops(shape, one, 0) + logit_flops(shape, one)).value


def gpu_seconds(work: Work, gpus: GPUs) -> Amount:
    """The time of ``work`` on all of ``gpus``, between which it is divided evenly."""
    if not work.model.computes_here:
        return amount(0)
    gpu = gpus.gpu
    low_precision = work.autocast or (work.kind != "train" and work.format != "float32")
    peak = (gpu.bf16 if low_precision else gpu.float32) * gpus.count
    if work.kind != "sample":
        share = TRAINING_SHARE if work.kind == "train" else READING_SHARE
        return work_flops(work) * _inverse(share) * (1 / peak)
    reading = work_flops(work.model_copy(update={"kind": "read", "new": amount(0)}))
    seconds = reading * _inverse(READING_SHARE) * (1 / peak)
    return seconds + _writing(work, gpus)


def _writing(work: Work, gpus: GPUs) -> Amount:
    """Steps of one token for a whole batch: bound by bandwidth or arithmetic, and dispatch."""
    shape, size = work.model, BYTES[work.format]
    # a batch that is not full takes as long as one that is
    rows = min(work.batch, max(1.0, work.sequences.value / gpus.count))
    read = shape.parameters * size + cache_bytes(shape, 1, work.mean_length, size) * rows
    flops = forward_flops(shape, amount(rows), work.mean_length) + logit_flops(shape, amount(rows))
    peak = gpus.gpu.bf16 if size == 2 else gpus.gpu.float32
    moving = amount(read / gpus.gpu.bandwidth) * _inverse(BANDWIDTH_SHARE)
    computing = flops * (1 / peak) * _inverse(READING_SHARE)
    step = (
        between(*(max(m, c) for m, c in zip(moving.ends, computing.ends, strict=True)))
        + DISPATCH * shape.layers
    )
    return work.new * (1 / (rows * gpus.count)) * step


def _inverse(share: Amount) -> Amount:
    return between(1 / share.high, 1 / share.value, 1 / share.low)

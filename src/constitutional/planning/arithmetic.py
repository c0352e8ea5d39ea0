"""Floating-point operations of a decoder: a multiplication and an addition are two.

Per token 2 for each entry of the matrices and 4 x layers x attention width x positions seen, for
the scores and the weighted sum (Kaplan et al. 2020, arXiv 2001.08361, table 1); a backward pass is
two forward passes. Norms, softmax and rotations are left out, which are little in a wide model.
"""

from __future__ import annotations

from constitutional.planning.amounts import Amount, amount
from constitutional.planning.shape import ModelShape
from constitutional.planning.work import Work


def forward_flops(shape: ModelShape, tokens: Amount, context: float) -> Amount:
    """Of ``tokens`` through all layers, each of which sees ``context`` positions on average.

    The matrix of the logits is not in it: see :func:`logit_flops`.
    """
    attention = 4 * shape.attention_width * context
    return tokens * (shape.layers * (2 * shape.matrices + attention))


def logit_flops(shape: ModelShape, tokens: Amount) -> Amount:
    """Of the logits after ``tokens``."""
    return tokens * (2 * shape.width * shape.vocabulary)


def work_flops(work: Work) -> Amount:
    """Of one work. Its sequences are taken as equally long, which counts attention too low by
    their variance."""
    shape, length = work.model, work.mean_length
    if shape.server is not None and not shape.server.shape_is_known:
        return amount(0)
    whole = forward_flops(shape, work.prompt + work.new, (length + 1) / 2)
    if work.kind == "sample":
        return whole + logit_flops(shape, work.new)
    if work.kind == "read":
        return whole + logit_flops(shape, work.sequences) if work.language_model else whole
    flops = whole + whole if work.critic else whole
    if work.language_model:
        tail = work.prompt if work.scored_tail is None else work.sequences * work.scored_tail
        flops = flops + logit_flops(shape, tail)
    # of the backward pass adapters spare the half that is the weights' gradients
    passes = 2 if work.lora else 3
    return flops * (passes + 1 if work.recomputes else passes)


def adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Weights of adapters of ``rank`` on every matrix of every layer (Hu et al. 2021)."""
    return shape.layers * rank * sum(into + out for into, out in shape.linear_layers)

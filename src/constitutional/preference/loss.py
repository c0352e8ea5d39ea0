"""The loss of the preference model."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def soft_preference_loss(score_a: Tensor, score_b: Tensor, prob_a: Tensor) -> Tensor:
    """Cross-entropy between the labeller's and the model's probability that a is better, (pairs,).

    All arguments are (pairs,): the raw scores r, and p in [0, 1].
    L = -p log s(r_A - r_B) - (1 - p) log s(r_B - r_A), with s the logistic function. At p = 1 it is
    log(1 + exp(r_B - r_A)), the loss of Askell et al. 2021 (arXiv:2112.00861) for human labels; Bai
    et al. 2022 (arXiv:2212.08073, section 4.1) take "normalized probabilities as targets", and Lee
    et al. 2023 (arXiv:2309.00267) write the cross-entropy out. Its least value is the entropy of p,
    which is not subtracted.
    """
    margin = score_a - score_b
    return -prob_a * logsigmoid(margin) - (1 - prob_a) * logsigmoid(-margin)

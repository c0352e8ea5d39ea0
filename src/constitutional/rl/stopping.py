"""When a training on fresh answers ends before its last step (``docs/metrics.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from constitutional.rl.settings import OnlineConfig


class Step(Protocol):
    """What the rules read of a step."""

    @property
    def step(self) -> int:
        """Its number, from 1."""
        ...

    @property
    def reward(self) -> float:
        """The mean score of the preference model that is trained against."""
        ...

    @property
    def reward_held_out(self) -> float | None:
        """The mean score of the one that is not, where there is one."""
        ...

    @property
    def kl_k1(self) -> float:
        """The mean KL of an answer from the reference, in nats."""
        ...


def stop_reason(history: Sequence[Step], config: OnlineConfig) -> str:
    """Why to stop after the last step of ``history``, as a sentence; "" to go on."""
    if not history:
        return ""
    limit, last = config.kl_limit, history[-1]
    if limit is not None and last.kl_k1 > limit:
        return f"step {last.step}: the mean KL of {last.kl_k1:.1f} nats is above {limit:g}"
    return held_out_falls(history, config.held_out_window)


def held_out_falls(history: Sequence[Step], window: int) -> str:
    """The second stop rule: the held-out PM falls while the PM that is trained against rises.

    Over windows of ``window`` steps: the mean of the last one against the best earlier one by the
    held-out PM. Returns a sentence, or "" to go on (also without a held-out PM).
    """
    held_out = [e.reward_held_out for e in history if e.reward_held_out is not None]
    if len(held_out) != len(history) or len(history) < 2 * window:
        return ""
    rewards = [entry.reward for entry in history]

    def mean(values: Sequence[float], end: int) -> float:
        return sum(values[end - window : end]) / window

    ends = range(window, len(history) - window + 1)
    best = max(ends, key=lambda end: mean(held_out, end))
    fall = mean(held_out, best) - mean(held_out, len(history))
    rise = mean(rewards, len(history)) - mean(rewards, best)
    # less than the step-to-step noise of a window's mean is no fall
    noise = _deviation(held_out[best - window : best]) / window**0.5
    if rise > 0 and fall > 2 * noise:
        return (
            f"step {history[-1].step}: the held-out preference model has fallen by {fall:.2f} "
            f"since step {best} while the one that is trained against has risen by {rise:.2f}"
        )
    return ""


def _deviation(values: Sequence[float]) -> float:
    centre = sum(values) / len(values)
    return float((sum((v - centre) ** 2 for v in values) / (len(values) - 1)) ** 0.5)

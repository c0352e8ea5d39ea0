"""The comparisons. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A comparison: its sides are ``ours`` and ``peer`` of a module, called with ``arguments``.

    ``rounds`` of each side. ``old_trl``: the peer needs the last TRL release with PPO.
    ``demo``: both sides learn from a run of ``cai demo``. ``less_is_better``: the figures are
    times, not rates.
    """

    name: str
    module: str
    peer_name: str
    unit: str
    rounds: int
    arguments: dict[str, int] = field(default_factory=dict)
    old_trl: bool = False
    demo: bool = False
    less_is_better: bool = False


TABLE = {
    row.name: row
    for row in (
        Row("chains", "chains", "transformers generate, turn by turn", "chains/s", 3),
        Row("labels", "labels", "lm-eval loglikelihood", "comparisons/s", 5),
        Row("sampling_64", "sampling", "transformers generate", "tokens/s", 7, {"rows": 64}),
        Row("sampling_256", "sampling", "transformers generate", "tokens/s", 7, {"rows": 256}),
        Row("sft", "sft", "TRL SFTTrainer", "examples/s", 3, demo=True),
        Row("pm", "pm", "TRL RewardTrainer", "pairs/s", 3, demo=True),
        Row("ppo", "ppo", "TRL 1.12 PPOTrainer", "episodes/s", 3, old_trl=True, demo=True),
        Row("loop", "loop", "plain script", "s", 1, old_trl=True, less_is_better=True),
    )
}

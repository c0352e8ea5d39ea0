"""How policies are called where people read. Names are data: nothing in one is obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: The paper's names. A policy that is not here is shown under its own name.
POLICIES = {
    "pretrained": "pretrained",
    "helpful": "helpful-only",
    "sft": "SFT",
    "sl_cai": "SL-CAI",
    "rl_cai": "RL-CAI",
    "rl_cai_cot": "RL-CAI, CoT",
    "helpful_rlhf": "helpful RLHF",
    "hh_rlhf": "HH RLHF",
    "prompted": "prompted",
    "rl_human": "RL, human labels",
}
_STAGES = {
    "critique_revision": "critique and revision",
    "helpful_replies": "helpful responses",
    "sl_cai": "finetuning SL-CAI",
    "sft": "finetuning on demonstrations",
    "preference_pretraining": "preference model pretraining",
    "comparisons_ai": "AI feedback",
    "comparisons_ai_cot": "AI feedback with a chain of thought",
    "comparisons_human": "human labels of the AI's pairs",
    "comparisons_helpfulness": "helpfulness comparisons",
    "comparisons_harmlessness": "harmlessness comparisons",
    "harm_score": "harm score",
}
_STAGES_OF = {
    "preference_model_": "preference model of",
    "answers_": "answers of",
    "harm_ratings_": "rated answers of",
    "judged_": "AI judge of",
}
#: What Elo counts from where a run has it.
_ZERO = ("sl_cai", "sft")
#: Longer names are cut, so that a table or a legend keeps its shape.
LONGEST = 40

_SNAPSHOT = re.compile(r"(?P<arm>.+)@(?P<step>\d+)", re.DOTALL)


def shown(policy: str) -> str:
    """A policy's name for people: the paper's where it has one, else its own, made safe."""
    if policy in POLICIES:
        return POLICIES[policy]
    if found := _SNAPSHOT.fullmatch(policy):
        return f"{shown(found['arm'])}, step {found['step']}"
    name = plain(policy)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def plain(text: str) -> str:
    """Text on one line, with a question mark for all that a terminal or XML would not print."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line) or "?"


def printable(text: str) -> str:
    """Text on its lines, with a question mark for all that a terminal would obey."""
    kept = (c if c.isprintable() or c == "\n" else "?" for c in text.replace("\t", " "))
    return "".join(kept)


def stage_title(stage: str) -> str:
    """A stage for people: what is done in it."""
    if stage in _STAGES:
        return _STAGES[stage]
    for begin, what in _STAGES_OF.items():
        if stage.startswith(begin):
            return f"{what} {shown(stage.removeprefix(begin).replace('-step-', '@'))}"
    return f"RL: {POLICIES[stage]}" if stage in POLICIES else plain(stage).replace("_", " ")


def is_snapshot(policy: str) -> bool:
    """Whether it is an arm at a step (``rl_cai@10``), and no final policy."""
    return _SNAPSHOT.fullmatch(policy) is not None


def zero(elo: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the policy that Elo ratings count from: it has no interval.

    Nor has one whose answers are all the same as its; the paper's SL-CAI, or SFT, is then meant.
    """
    ratings = (rating for goal in elo.values() for rating in goal.items())
    at_zero = [name for name, e in ratings if e["value"] == e["low"] == e["high"] == 0]
    return shown(next((name for name in _ZERO if name in at_zero), (*at_zero, "sl_cai")[0]))


def in_order(policies: Iterable[str]) -> list[str]:
    """Final policies, snapshots left out: those of the paper first, in its order."""
    known = list(POLICIES)
    final = [policy for policy in dict.fromkeys(policies) if not is_snapshot(policy)]
    return sorted(final, key=lambda p: known.index(p) if p in POLICIES else len(known))

"""The order in which a run makes its stages, and which of them holds whose answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ANSWERS, _STEP = "answers_", "-step-"
#: How the names of stages begin, in the order of the pipeline; ``{arm}`` stands for each arm.
_ORDER = (
    *("critique_revision", "helpful_replies", "sft", "sl_cai"),
    *("preference_pretraining", "comparisons_"),
    *("preference_model_", "{arm}", _ANSWERS, "harm_", "judged_"),
)
#: Those of the paper first, in its order.
_POLICIES = ("pretrained", "helpful", "sft", "sl_cai")


def in_order_of_work(stages: Iterable[str], arms: Sequence[str]) -> list[str]:
    """The names of stages as the pipeline comes to them; those that it does not know are last."""
    return sorted(stages, key=lambda name: (_place(name, arms), _policy_place(name, arms), name))


def policy_of(stage: str) -> str | None:
    """Whose answers a stage holds: ``rl_cai@12`` for ``answers_rl_cai-step-12``, else None."""
    if not stage.startswith(_ANSWERS):
        return None
    return stage.removeprefix(_ANSWERS).replace(_STEP, "@")


def stage_of(policy: str) -> str:
    """The stage that holds a policy's answers."""
    return f"{_ANSWERS}{policy.replace('@', _STEP)}"


def _place(name: str, arms: Sequence[str]) -> int:
    if name in arms:
        return _ORDER.index("{arm}")
    found = (place for place, begin in enumerate(_ORDER) if name.startswith(begin))
    return next(found, len(_ORDER))


def _policy_place(stage: str, arms: Sequence[str]) -> tuple[int, float]:
    """Of answers: the policy, and of a snapshot its step; the arm itself comes after them."""
    known = [*_POLICIES, *arms]
    arm, _, step = (policy_of(stage) or "").partition("@")
    number = float(step) if re.fullmatch(r"\d+", step) else float("inf")
    return (known.index(arm) if arm in known else len(known), number)

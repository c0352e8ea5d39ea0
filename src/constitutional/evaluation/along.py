"""The monitors along RL: what the snapshots of a policy show on held-out prompts, step by step.

What an over-trained policy does (Bai et al. 2022b, section 4.3) is seen in the way there: dodging,
refusing the harmless and the same phrases everywhere grow with the steps. The numbers are those of
:mod:`.monitors`, but where a judge read the answers, it says what they do, and not their wording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from constitutional.evaluation.behaviour import SEEN, behaviour_shares
from constitutional.evaluation.monitors import (
    EVASIONS_THRESHOLD,
    OVER_REFUSALS_THRESHOLD,
    Monitor,
    monitor_answers,
)
from constitutional.evaluation.texts import texts_of
from constitutional.evaluation.verdicts import Verdict
from constitutional.runs.records import Answer


class _Judged(NamedTuple):
    measure: str
    of: str
    threshold: float | None


#: Monitors of which a judge knows better than the wording: the measure that takes their place.
_JUDGED = {
    "evasions": _Judged("evasion", "harmful", EVASIONS_THRESHOLD),
    "reasoned_refusals": _Judged("reasoned_refusal", "harmful", None),
    "over_refusals": _Judged("over_refusal", "harmless", OVER_REFUSALS_THRESHOLD),
}


def monitors_along(
    answers_by_step: Mapping[int, Sequence[Answer]], against: Sequence[Answer]
) -> list[dict[str, Any]]:
    """What ``metrics.json`` holds of an arm under ``along`` (``docs/metrics.md``), by step.

    ``answers_by_step`` has each snapshot's answers to the evaluation prompts (0: the policy that RL
    starts from), ``against`` those of SL-CAI to the same prompts, which phrases, distinct n-grams
    and lengths are compared with. Prompts tagged as seen are left out on both sides; a snapshot
    without held-out answers has no monitors. Raises ValueError for a step without any answer.
    """
    reference = _held_out(against)
    return [
        {"step": step, "policy": _policy(step, answers)} | _monitors(_held_out(answers), reference)
        for step, answers in sorted(answers_by_step.items())
    ]


def _monitors(answers: list[Answer], reference: list[Answer]) -> dict[str, Any]:
    if not answers:
        return {"prompts": 0, "monitors": {}, "left_out": {}}
    report = monitor_answers(texts_of(answers), texts_of(reference) or None)
    found = {monitor.name: _plain(monitor, "text") for monitor in report.monitors}
    left_out = dict(report.left_out)
    verdicts = [answer.verdict for answer in answers if answer.verdict is not None]
    if verdicts:
        for name, judged in _JUDGED.items():
            found.pop(name, None)
            monitor = _by_judge(name, judged, verdicts)
            if monitor is None:
                left_out[name] = f"no answer to a {judged.of} prompt was judged"
            else:
                found[name] = _plain(monitor, "judge")
    return {"prompts": report.prompts, "monitors": found, "left_out": left_out}


def _by_judge(name: str, judged: _Judged, verdicts: Sequence[Verdict]) -> Monitor | None:
    estimate = behaviour_shares(verdicts).get(judged.measure)
    if estimate is None:
        return None
    return Monitor(
        name=name,
        estimate=estimate,
        answers=estimate.n,
        threshold=judged.threshold,
        flagged=judged.threshold is not None and estimate.low > judged.threshold,
    )


def _plain(monitor: Monitor, by: str) -> dict[str, Any]:
    return {"by": by, **monitor.model_dump(mode="json", exclude={"name"})}


def _held_out(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if SEEN not in answer.tags]


def _policy(step: int, answers: Sequence[Answer]) -> str:
    names = {answer.policy for answer in answers}
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "none"
        raise ValueError(f"step {step} needs the answers of one policy, found those of: {found}")
    return names.pop()

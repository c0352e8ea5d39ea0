"""By how much runs differ in what was measured of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from constitutional.dialogue.transcript import render
from constitutional.evaluation.behaviour import MEASURED_OF, SEEN, traits
from constitutional.evaluation.differences import difference, paired_difference
from constitutional.evaluation.intervals import Estimate
from constitutional.report.one.view import View

#: By measure, whether it holds for each prompt that it is measured on.
Held = Mapping[str, Mapping[str, bool]]


class Differs(NamedTuple):
    """A difference; ``changed``: on how many prompts, None where these were not the same."""

    estimate: Estimate
    changed: int | None


def of_policy(first: View, other: View, policy: str) -> dict[str, Differs]:
    """Every measure of a policy on held-out prompts, the other run less the first.

    Paired by prompt where both runs asked the same ones, and else as if they were independent.
    """
    before, after = (_held(view, policy) for view in (first, other))
    found = {}
    for measure in MEASURED_OF:
        estimates = [_share(view, policy, measure) for view in (first, other)]
        one, two = before.get(measure, {}), after.get(measure, {})
        if one and one.keys() == two.keys():
            paired = paired_difference(one, two)
            if paired is not None:
                found[measure] = Differs(*paired)
        elif (apart := of_estimates(*estimates)) is not None:
            found[measure] = apart
    return found


def of_estimates(
    first: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> Differs | None:
    """Two estimates as if they were independent; None where one is unknown."""
    if first is None or other is None:
        return None
    return Differs(difference(Estimate.model_validate(first), Estimate.model_validate(other)), None)


def _share(view: View, policy: str, measure: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = view.policies[policy].get("held_out", {}).get(measure)
    return found


def _held(view: View, policy: str) -> Held:
    """By measure and prompt; a prompt is known by its id and its text."""
    held: dict[str, dict[str, bool]] = {}
    for answer in view.run.answers(policy) if policy in view.run.policies else ():
        if answer.verdict is None or SEEN in answer.tags:
            continue
        met = traits(answer.verdict)
        prompt = f"{answer.id}\n{render(answer.prompt)}"
        for measure, kinds in MEASURED_OF.items():
            if met.intersection(kinds):
                held.setdefault(measure, {})[prompt] = measure in met
    return held

"""What is known of a run that is still being made, in the form of its metrics to come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from constitutional.evaluation.behaviour import as_json, damage_counts, flag_counts, policy_metrics
from constitutional.feedback.accounting import account
from constitutional.reading.run import Run
from constitutional.stages.arms import ARMS

#: The stage whose comparisons AI labelled for an arm.
LABELS = {"ai": "comparisons_ai", "ai_cot": "comparisons_ai_cot"}


def metrics_so_far(run: Run) -> Mapping[str, Any]:
    """``metrics.json``; before it is written, those of its entries that the records alone give.

    Elo, preference models and all that needs the judge of the run come at its end.
    """
    if run.finished:
        return run.metrics
    answers = {policy: run.answers(policy) for policy in run.policies}
    made = {
        "policies": {policy: policy_metrics(found) for policy, found in answers.items() if found},
        "arms": {arm: found for arm in run.arms if (found := _arm(run, arm))},
        "seconds": {**run.seconds, "total": sum(run.seconds.values())},
        **_revisions(run),
        **({"usage": run.usage} if run.usage else {}),
    }
    plain: Mapping[str, Any] = as_json(made)
    return plain


def _revisions(run: Run) -> dict[str, Any]:
    if not run.chains:
        return {}
    trained = (run.recipe.get("finetune") or {}).get("flagged") == "train"
    found: dict[str, Any] = {"revisions": flag_counts(run.chains, trained=trained)}
    if (run.recipe.get("supervised") or {}).get("damage"):
        found["damage"] = damage_counts(run.chains)
    return found


def labels_of(run: Run, arm: str) -> str | None:
    """The stage with the AI labels of an arm; None where humans labelled harmlessness."""
    kind = next((found.harmlessness for name, found in ARMS.items() if name == arm), None)
    return LABELS.get(kind or "")


def _arm(run: Run, arm: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    stage = labels_of(run, arm)
    records = run.comparisons.parts.get(stage or "")
    if records:
        labels = account(records)
        found["labels"] = {
            **dict.fromkeys(("accuracy", "position_decided", "ece")),
            "unreadable": labels.unreadable,
            "account": labels.model_dump(mode="json"),
        }
    training = run.training(arm)
    if training is not None and training.history:
        found["training"] = {
            "algorithm": training.algorithm,
            "steps": training.steps,
            "ended": training.ended or "not yet",
            "history": training.history,
        }
    return found

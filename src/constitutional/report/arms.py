"""What is said of each arm of the RL stage: its labels, preference model, training, flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from constitutional.report.names import plain, shown

Metrics = Mapping[str, Any]


def percent(estimate: Metrics | None, between: str = " ") -> str:
    """``26.1 (13-40)`` for a table of percents, ``-`` where there is no number."""
    if estimate is None:
        return "-"
    low, high = (f"{100 * estimate[end]:.0f}" for end in ("low", "high"))
    return f"{100 * estimate['value']:.1f}{between}({low}-{high})"


def share(estimate: Metrics | None) -> str:
    """``26.1% (13-40, n = 46)`` for a sentence."""
    if estimate is None:
        return "-"
    value, interval = percent(estimate).split(" ")
    return f"{value}% {interval[:-1]}, n = {estimate['n']})"


def arm_lines(metrics: Metrics) -> list[str]:
    """One line for each part of each arm that the metrics hold, as plain text."""
    lines = []
    for arm, entry in metrics.get("arms", {}).items():
        parts = {
            "harmlessness": made_by(entry),
            "labels": _labels(entry.get("labels")),
            "preference model": _preference_model(entry.get("preference_model")),
            "training": training_sentence(entry.get("training")),
            "monitors": _monitors(entry.get("along") or ()),
        }
        lines += [f"{shown(arm)}, {part}: {said}" for part, said in parts.items() if said]
    return lines


def made_by(entry: Metrics) -> str:
    """What the arm begins from, and who labelled harmlessness; "" where the metrics lack both."""
    if not entry.get("begins_from"):
        return ""
    labeller = entry.get("labeller")
    labels = f"labelled by {plain(labeller)}" if labeller else "no comparisons"
    return f"{labels}; RL begins from {shown(entry['begins_from'])}"


def _labels(labels: Metrics | None) -> str:
    if not labels:
        return ""
    contrast = labels.get("contrast") or {}
    said = [
        f"accuracy {share(labels['accuracy'])}",
        f"decided by position {share(labels['position_decided'])}",
        f"ECE {_number(labels['ece'])}",
        f"unreadable {labels['unreadable']}",
        f"telling pairs {share(contrast.get('differ'))}",
    ]
    warning = contrast.get("warning", "")
    return f"{', '.join(said)}{'. Warning: ' + plain(warning) if warning else ''}"


def _preference_model(found: Metrics | None) -> str:
    if not found:
        return ""
    said = [
        f"accuracy on {goal} {share(found[f'{goal}_accuracy'])}"
        for goal in ("harmlessness", "helpfulness")
        if f"{goal}_accuracy" in found
    ]
    return ", ".join([*said, f"ECE {_number(found['ece'])}"])


def damage_sentence(metrics: Metrics) -> str:
    """What was done to revisions on purpose, and how much of it was caught; "" for nothing."""
    kinds = [
        f"{plain(kind)} {found['revisions']} (caught {share(found['caught'])})"
        for kind, found in (metrics.get("damage") or {}).items()
    ]
    return f"Revisions damaged on purpose, for a study: {'; '.join(kinds)}." if kinds else ""


def training_sentence(training: Metrics | None) -> str:
    """Algorithm, steps, why it ended, KL at its end; "" without a training."""
    if not training:
        return ""
    # DPO samples no answers on its way, and is measured after it
    end: Metrics = training.get("after") or (training["history"] or ({},))[-1]
    kl = ""
    if end.get("kl_k1") is not None:
        k1, k3 = (_number(end.get(key), 2) for key in ("kl_k1", "kl_k3"))
        kl = f"; KL at the end {k1} (k1), {k3} (k3) nats"
    algorithm = plain(training["algorithm"]).upper()
    return f"{algorithm}, {training['steps']} steps, ended: {plain(training['ended'])}{kl}"


def _monitors(along: Sequence[Metrics]) -> str:
    none = f"none flags (snapshots: {len(along)})" if along else ""
    return "; ".join(flagged_monitors(along)) or none


def flagged_monitors(along: Sequence[Metrics]) -> list[str]:
    """Which monitors flag, how often, and what was found the last time."""
    flagged: dict[str, list[tuple[int, Metrics]]] = {}
    for entry in along:
        for name, monitor in entry["monitors"].items():
            if monitor["flagged"]:
                flagged.setdefault(name, []).append((entry["step"], monitor))
    return [
        f"{plain(name).replace('_', ' ')} flagged at {len(found)} of {len(along)} snapshots, "
        f"last at step {found[-1][0]}: {_found(name, found[-1][1])}"
        for name, found in flagged.items()
    ]


def _found(name: str, monitor: Metrics) -> str:
    estimate, threshold = monitor["estimate"], monitor["threshold"]
    if name == "length":
        interval = f"({estimate['low']:.1f}-{estimate['high']:.1f}, n = {estimate['n']})"
        return f"{estimate['value']:.1f} words {interval}, threshold {threshold:.1f}"
    return f"{share(estimate)}, threshold {100 * threshold:.0f}%"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

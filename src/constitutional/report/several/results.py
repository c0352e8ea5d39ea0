"""What was measured of several runs, side by side, with the differences from the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from constitutional.report.blocks import Beside, Cell, Number, Paragraph, Pictures, Section, Table
from constitutional.report.canvas import counts, keys
from constitutional.report.difference_figure import difference_panel
from constitutional.report.elo_figure import elo_panels
from constitutional.report.names import in_order, shown, stage_title, zero
from constitutional.report.numbers import decimal, lasting, percent, rating, shift
from constitutional.report.one.results import GOALS
from constitutional.report.one.view import View
from constitutional.report.several.differ import Differs, of_estimates, of_policy
from constitutional.report.summary import MEASURES
from constitutional.report.training_figures import curve_panels

Views = Mapping[str, View]
_BOLD = "Bold: the interval of the difference does not hold 0."
_PROMPTS_ONLY = (
    "All intervals are over prompts. Two trainings with other seeds differ beyond them: whether a "
    "setting made the difference, several seeds of each tell."
)


def results(views: Views) -> Section | None:
    """A table for each policy that all runs have."""
    policies = [
        policy
        for policy in in_order(next(iter(views.values())).policies)
        if all("held_out" in view.policies.get(policy, {}) for view in views.values())
    ]
    if not policies:
        return None
    differ = {
        policy: [of_policy(_first(views), other, policy) for other in _others(views)]
        for policy in policies
    }
    same = [policy for policy, found in differ.items() if not any(map(_changed, found))]
    panels = [
        difference_panel(f"{shown(policy)}: {name} less {_name(views)}", _points(one))
        for policy, found in differ.items()
        for name, one in zip(list(views)[1:], found, strict=True)
        if _changed(one)
    ]
    tables = [
        _policy_table(views, policy, differ[policy]) for policy in policies if policy not in same
    ]
    blocks: list[Any] = [Paragraph(f"{_how(differ.values())} {_BOLD} {_PROMPTS_ONLY}", "note")]
    if panels:
        blocks.append(Pictures("differences", panels, small=True))
    blocks += [Beside(tables)] if len(views) == 2 else tables
    if same:
        said = ", ".join(map(shown, same))
        blocks.append(Paragraph(f"Judged alike on every prompt in all runs: {said}."))
    return Section("results", "Results", blocks)


def _changed(found: Mapping[str, Differs]) -> bool:
    """Whether any prompt was, or may have been, answered otherwise."""
    return any(one.changed != 0 for one in found.values())


def _how(differ: Iterable[Sequence[Mapping[str, Differs]]]) -> str:
    changed = [one.changed for found in differ for each in found for one in each.values()]
    if None not in changed:
        return (
            "Percent of answers to held-out prompts; differences in points, paired by prompt "
            "(Newcombe 1998)."
        )
    return (
        "Percent of answers to held-out prompts; differences in points, as if the runs were "
        "independent where they were asked other prompts."
    )


def ratings(views: Views) -> Section | None:
    """Elo of each run, and how much farther from its own zero a policy came."""
    elos = [view.metrics.get("elo", {}) for view in views.values()]
    if not all(elos):
        return None
    panels = [
        panel._replace(title=f"{name}: {panel.title}")
        for name, view in views.items()
        for panel in elo_panels(view.metrics)[:1]
    ]
    tables = []
    for goal in GOALS:
        names = [p for p in in_order(elos[0].get(goal, {})) if all(p in e[goal] for e in elos)]
        rows = [
            (shown(policy), [elo[goal][policy] for elo in elos], None)
            for policy in names
            if shown(policy) != zero(elos[0])
        ]
        tables.append(_table(views, f"{goal} Elo", rows, rating, scale=1, digits=0))
    note = (
        f"Each run counts from its own {zero(elos[0])}, so a difference is one of distances from "
        f"there; intervals as if the runs were independent (Zou and Donner 2008). {_BOLD}"
    )
    return Section("elo", "Elo", [Pictures("elo", panels), Beside(tables), Paragraph(note, "note")])


def rounds(views: Views) -> Section | None:
    """Harm by round of revision."""
    found = [view.metrics.get("revision_rounds", ()) for view in views.values()]
    rows = [
        (str(k), [entry.get("harmful_compliance") for entry in entries], None)
        for k, entries in enumerate(zip(*found, strict=False))
    ]
    if not rows:
        return None
    table = _table(views, "round", rows, percent)
    note = f"Percent of answers that comply with harm, on the training prompts. {_BOLD}"
    return Section("rounds", "Harm by round of revision", [table, Paragraph(note, "note")])


def models(views: Views) -> Section | None:
    """Labels and preference models of the arms that all runs have."""
    tables = []
    for arm in _arms(views):
        entries = [view.arms[arm] for view in views.values()]
        rows = [(what, list(map(get, entries)), None) for what, get in _OF_ARM.items()]
        known = [row for row in rows if any(row[1])]
        if known:
            tables.append(_table(views, shown(arm), known, percent))
    if not tables:
        return None
    note = (
        "Percent; differences as if the runs were independent (Newcombe 1998): their labels and "
        f"held-out comparisons are their own. {_BOLD}"
    )
    blocks = [*tables, Paragraph(note, "note")]
    return Section("models", "Labels and preference models", blocks)


def reinforcement(views: Views) -> Section | None:
    """The curves over each other, and where each training ended."""
    arms = {
        f"{name}, {shown(arm)}": view.arms[arm]
        for name, view in views.items()
        for arm in view.arms
        if view.arms[arm].get("training")
    }
    panels = curve_panels({"arms": arms})
    if not panels:
        return None
    rows: list[list[Cell]] = []
    for name, entry in arms.items():
        training = entry["training"]
        last: Mapping[str, Any] = training.get("after") or (training["history"] or ({},))[-1]
        ends = [decimal(last.get(key), 2) for key in ("reward", "kl_k1", "kl_k3")]
        rows.append([name, str(training["steps"]), str(training["ended"]), *ends])
    head = ("training", "steps", "ended", "reward at the end", "KL (k1)", "KL (k3)")
    caption = (
        "One training each, so there is no interval. Rewards of different preference models are "
        "not on one scale."
    )
    return Section(
        "rl",
        "Reinforcement learning",
        [Pictures("curves", panels, small=True, keys=keys(arms)), Table(head, rows, caption)],
    )


def times(views: Views) -> Section:
    """Wall time of each stage."""
    seconds = [view.run.seconds for view in views.values()]
    names = dict.fromkeys(name for found in seconds for name in found)
    rows: list[list[Cell]] = [
        [stage_title(name), *(lasting(f[name]) if name in f else "–" for f in seconds)]
        for name in names
    ]
    rows.append(["in all", *(lasting(sum(found.values())) for found in seconds)])
    return Section("cost", "Time", [Table(["stage", *views], rows, "Wall time over all sessions.")])


def _policy_table(views: Views, policy: str, differ: Sequence[Mapping[str, Differs]]) -> Table:
    rows = []
    for measure, title in MEASURES.items():
        shares = [v.policies[policy]["held_out"].get(measure) for v in views.values()]
        if any(shares):
            rows.append((title, shares, [found.get(measure) for found in differ]))
    return _table(views, shown(policy), rows, percent)


def _table(
    views: Views,
    what: str,
    rows: Sequence[tuple[str, Sequence[Mapping[str, Any] | None], Sequence[Differs | None] | None]],
    show: Callable[[Mapping[str, Any] | None], Number],
    *,
    scale: float = 100,
    digits: int = 1,
) -> Table:
    """Estimates of all runs, each with its difference: the given one, or as if independent."""
    first, *others = views
    head = [what, first, *(name for other in others for name in (other, f"{other} less {first}"))]
    made: list[list[Cell]] = []
    for title, estimates, given in rows:
        differ = given or [of_estimates(estimates[0], other) for other in estimates[1:]]
        row: list[Cell] = [title, show(estimates[0])]
        for estimate, one in zip(estimates[1:], differ, strict=True):
            row += [show(estimate), shift(one and one.estimate, scale, digits)]
        made.append(row)
    return Table(head, made, _counts(views, [estimates for _, estimates, _ in rows]))


def _counts(views: Views, rows: Sequence[Sequence[Mapping[str, Any] | None]]) -> str:
    """How many observations are behind the estimates of each run."""
    said = [
        f"{name} {counts(found)}"
        for name, column in zip(views, zip(*rows, strict=True), strict=True)
        if (found := [estimate for estimate in column if estimate is not None])
    ]
    return f"{'; '.join(said)}."


def _points(found: Mapping[str, Differs]) -> list[tuple[str, Any]]:
    return [(MEASURES[measure], one.estimate) for measure, one in found.items()]


def _get(*path: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any] | None]:
    def get(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = entry
        for key in path:
            found = (found or {}).get(key)
        return found

    return get


_OF_ARM = {
    "labels: accuracy": _get("labels", "accuracy"),
    "labels: decided by position": _get("labels", "position_decided"),
    "labels: telling pairs": _get("labels", "contrast", "differ"),
    "preference model: harmlessness": _get("preference_model", "harmlessness_accuracy"),
    "preference model: helpfulness": _get("preference_model", "helpfulness_accuracy"),
}


def _arms(views: Views) -> Iterator[str]:
    for arm in _first(views).arms:
        if all(arm in view.arms for view in views.values()):
            yield arm


def _first(views: Views) -> View:
    return next(iter(views.values()))


def _name(views: Views) -> str:
    return next(iter(views))


def _others(views: Views) -> list[View]:
    return list(views.values())[1:]

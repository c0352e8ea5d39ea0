"""The results: what the policies do on held-out prompts, Elo, and harm by round of revision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from constitutional.report.behaviour_figure import FINAL, ROUNDS, behaviour_panels
from constitutional.report.blocks import (
    Beside,
    Cell,
    Fold,
    Paragraph,
    Pictures,
    Section,
    Table,
    Tile,
)
from constitutional.report.elo_figure import elo_caption, elo_panels
from constitutional.report.names import in_order, is_snapshot, shown, zero
from constitutional.report.numbers import counted, lasting, percent, rating
from constitutional.report.one.view import View
from constitutional.report.summary import MEASURES

GOALS = ("helpfulness", "harmlessness")
_SHARES = "Percent of answers to held-out prompts, with 95% intervals (Wilson)."


def tiles(view: View) -> list[Tile]:
    """Harm, help and Elo of the policy that the run ends with, and how long it took."""
    made = list(_policy_tiles(view))
    total = view.metrics.get("seconds", {}).get("total")
    if total is not None:
        stages = counted(len(view.run.stages), "stage")
        made.append(Tile("took", lasting(total), "", f"wall time of {stages}"))
    return made


def _policy_tiles(view: View) -> Iterator[Tile]:
    final = in_order(view.policies)
    if not final:
        return
    policy = next((name for name in reversed(final) if name in view.arms), final[-1])
    shares = view.policies[policy].get("held_out", {})
    helpful = view.policies.get("helpful", {}).get("held_out", {})
    for measure, label in (
        ("harmful_compliance", "complies with harm"),
        ("benign_correct", "helps rightly with the harmless"),
    ):
        if measure in shares:
            found = percent(shares[measure])
            beside = (
                f"; helpful-only {percent(helpful[measure]).text}%" if measure in helpful else ""
            )
            note = f"n = {shares[measure]['n']}{beside}"
            yield Tile(f"{shown(policy)} {label}", f"{found.text}%", found.interval, note)
    elo = view.metrics.get("elo", {}).get("harmlessness", {})
    if policy in elo:
        found = rating(elo[policy])
        note = f"{zero(view.metrics['elo'])} at 0, n = {elo[policy]['n']}"
        yield Tile(f"{shown(policy)}, harmlessness Elo", found.text, found.interval, note)


def results(view: View) -> Section | None:
    """Every final policy with its measures, the picture of the two Elos, and the snapshots."""
    everybody = [*view.policies, *(name for goal in _elo(view) for name in _elo(view)[goal])]
    final = in_order(everybody)
    if not final:
        return None
    blocks: list[Any] = []
    elo = elo_panels(view.metrics)
    if elo:
        blocks.append(Pictures("elo", elo, view.drawn("elo"), elo_caption(view.metrics)))
    blocks.append(policy_table(view, final, "The final policies. " + _SHARES))
    panels = [panel for panel in behaviour_panels(view.metrics) if panel.title == FINAL]
    if panels:
        blocks.append(Pictures("policies", panels, view.drawn("harmlessness")))
    snapshots = [name for name in dict.fromkeys(everybody) if is_snapshot(name)]
    if snapshots:
        table = policy_table(view, snapshots, "Arms at a step of their training. " + _SHARES)
        blocks.append(Fold("Snapshots", [table]))
    blocks += _by_tag(view, final)
    return Section("results", "Results", blocks)


def policy_table(view: View, names: Sequence[str], caption: str) -> Table:
    """A row for each policy, a column for each measure that some policy has."""
    shares = {name: view.policies.get(name, {}).get("held_out", {}) for name in names}
    measures = [m for m in MEASURES if any(m in found for found in shares.values())]
    goals = [goal for goal in GOALS if goal in _elo(view)]
    head = ["policy", *(["n"] if measures else []), *(MEASURES[m] for m in measures)]
    rows: list[list[Cell]] = []
    for name in names:
        row: list[Cell] = [shown(name)]
        if measures:
            row.append(_prompts(shares[name]))
        row += [percent(shares[name].get(m)) for m in measures]
        row += [rating(_elo(view)[goal].get(name)) for goal in goals]
        rows.append(row)
    said = [caption] * bool(caption)
    if goals:
        said.append(f"Elo counts from {zero(_elo(view))}; intervals by bootstrap over prompts.")
    if measures:
        said.append("n: harmful + harmless prompts.")
    return Table([*head, *(f"{goal} Elo" for goal in goals)], rows, " ".join(said))


def rounds(view: View) -> Section | None:
    """Harm after each round of critique and revision, and what became of the revisions."""
    found: Sequence[Mapping[str, Any]] = view.metrics.get("revision_rounds", ())
    counts = view.metrics.get("revisions")
    blocks: list[Any] = []
    panels = [panel for panel in behaviour_panels(view.metrics) if panel.title == ROUNDS]
    if panels and found:
        pictures = Pictures("rounds", panels, view.drawn("harmlessness"))
        blocks.append(Beside([pictures, _round_table(found)]))
    if counts:
        flags = {k: n for k, n in counts.items() if k not in ("revisions", "unchanged", "left_out")}
        said = "".join(f"; {flag.replace('_', ' ')}: {n}" for flag, n in flags.items())
        text = (
            f"{counted(counts['revisions'], 'revision')}: {counts['unchanged']:,} left the answer "
            f"as it was, {counts['left_out']:,} left out of training for their form{said}."
        )
        blocks.append(Paragraph(text))
    return Section("rounds", "Harm by round of revision", blocks) if blocks else None


def _round_table(found: Sequence[Mapping[str, Any]]) -> Table:
    measures = [m for m in MEASURES if any(m in entry for entry in found)]
    rows: list[list[Cell]] = [
        [str(k), *(percent(entry.get(m)) for m in measures)] for k, entry in enumerate(found)
    ]
    n = max((entry[m]["n"] for entry in found for m in measures if m in entry), default=0)
    head = ["round", *(MEASURES[m] for m in measures)]
    return Table(head, rows, f"Percent of answers to the training prompts (n = {n}); 0: the first.")


def _by_tag(view: View, final: Iterable[str]) -> Iterator[Fold]:
    by_tag = {
        name: view.policies.get(name, {}).get("harmful_compliance_by_tag", {}) for name in final
    }
    tags = sorted({tag for found in by_tag.values() for tag in found})
    if len(tags) < 2:
        return
    rows: list[list[Cell]] = [
        [tag, *(percent(found.get(tag)) for found in by_tag.values())] for tag in tags
    ]
    n = max(found[tag]["n"] for found in by_tag.values() for tag in found)
    caption = f"Percent of held-out prompts with a tag that are complied with; n up to {n}."
    yield Fold("Harm by tag", [Table(["tag", *map(shown, by_tag)], rows, caption)])


def _prompts(shares: Mapping[str, Any]) -> str:
    numbers = (shares.get(m, {}).get("n", 0) for m in ("harmful_compliance", "over_refusal"))
    return " + ".join(map(str, numbers))


def _elo(view: View) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = view.metrics.get("elo", {})
    return found

"""The results of a run as tables on the screen, and the figures beside ``metrics.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from constitutional.report.arms import arm_lines, damage_sentence, percent, share
from constitutional.report.figures import draw_figures
from constitutional.report.names import in_order, plain, shown, zero
from constitutional.report.usage import usage_lines

MEASURES = {
    "harmful_compliance": "harmful compliance",
    "reasoned_refusal": "reasoned refusal",
    "evasion": "evasion",
    "over_refusal": "over-refusal",
    "benign_correct": "benign correct",
    "ill_formed": "ill-formed",
}
#: Columns of text where no terminal says how wide it is.
WIDTH = 100
FIGURES = "figures"
#: More tags than these make no table that can be read; ``metrics.json`` has them all.
MOST_TAGS = 8
_OF_BEHAVIOUR = "percent (95% interval); n: harmful + harmless prompts"
_OF_TAGS = "percent (95% interval)"
_OF_ELO = "Elo, {zero} at 0 (95% interval by bootstrap over prompts)"

Metrics = Mapping[str, Any]


class _Column(NamedTuple):
    """A heading and what stands under it in the row of a policy."""

    heading: str
    cell: Callable[[str], str]


def write_report(metrics: Metrics, folder: Path, console: Console | None = None) -> None:
    """Show the tables and lines, draw the figures into ``folder/figures``, say where all lies."""
    console = console or new_console()
    for table in tables(metrics, console):
        console.print(table)
    for line in lines(metrics):
        # text and not markup: names and sentences may hold square brackets
        console.print(Text(line))
    draw_figures(metrics, folder / FIGURES)
    took = f"Took {metrics['seconds']['total']:.0f} s. " if "seconds" in metrics else ""
    console.print(Text(f"{took}Everything is in {folder}"))


def new_console() -> Console:
    """As wide as the terminal; a pipe has no width, and gets one that tables can be read in."""
    return Console(width=None if Console().is_terminal else WIDTH)


def tables(metrics: Metrics, console: Console) -> list[Table]:
    """The final policies on held-out prompts and by Elo, harm by tag, the seen prompts, the rounds.

    Where the console is too narrow for the first, Elo has a table of its own.
    """
    policies = metrics.get("policies", {})
    made = [*_policy_tables(metrics, console), *_tag_tables(policies)]
    seen = {
        shown(name): policies[name]["seen"]
        for name in in_order(policies)
        if "seen" in policies[name]
    }
    if seen:
        made.append(_behaviour_table("Policies on seen prompts, judged", "policy", seen, console))
    rounds: Sequence[Metrics] = metrics.get("revision_rounds", ())
    if rounds:
        rows = {str(k): entry for k, entry in enumerate(rounds)}
        title = "The training prompts, by round of revision"
        made.append(_behaviour_table(title, "round", rows, console))
    return made


def _policy_tables(metrics: Metrics, console: Console) -> list[Table]:
    everybody, elo = metrics.get("policies", {}), metrics.get("elo", {})
    held_out = {name: p["held_out"] for name, p in everybody.items() if "held_out" in p}
    behaviour = _behaviour_columns(held_out) if held_out else []
    ratings = [
        _Column(f"{goal} Elo", partial(_rating, elo[goal]))
        for goal in ("helpfulness", "harmlessness")
        if goal in elo
    ]
    of_elo = _OF_ELO.format(zero=zero(elo))
    both = _policy_table(
        in_order([*held_out, *(name for goal in elo.values() for name in goal)]),
        [*behaviour, *ratings],
        f"{_OF_BEHAVIOUR}\n{of_elo}" if behaviour else of_elo,
    )
    if not behaviour and not ratings:
        return []
    if not behaviour or _width(both, console) <= console.width:
        return [both]
    split = [_policy_table(in_order(held_out), behaviour, _OF_BEHAVIOUR)]
    if ratings:
        split.append(_policy_table(in_order(elo[next(iter(elo))]), ratings, of_elo))
    return split


def _tag_tables(policies: Metrics) -> list[Table]:
    """Harmful compliance by what the prompts are tagged with, such as a kind of harm."""
    by_tag = {name: policies[name].get("harmful_compliance_by_tag", {}) for name in policies}
    tags = sorted({tag for found in by_tag.values() for tag in found})
    if not 2 <= len(tags) <= MOST_TAGS:
        return []
    table = _table("Harmful compliance on held-out prompts, by tag", _OF_TAGS, "policy")
    for tag in tags:
        largest = max(found[tag]["n"] for found in by_tag.values() if tag in found)
        table.add_column(Text(f"{plain(tag)}\nn {largest}"), justify="right")
    for name in in_order(policies):
        cells = (percent(by_tag[name].get(tag), "\n") for tag in tags)
        table.add_row(Text(shown(name)), *(Text(cell) for cell in cells))
    return [table]


def _behaviour_columns(held_out: Mapping[str, Metrics]) -> list[_Column]:
    measures = [
        measure
        for measure in MEASURES
        if measure != "ill_formed" and any(measure in shares for shares in held_out.values())
    ]
    return [
        _Column("n", partial(_prompts, held_out)),
        *(_Column(MEASURES[measure], partial(_share, held_out, measure)) for measure in measures),
    ]


def _width(table: Table, console: Console) -> int:
    """The columns that it takes if nothing is cut off or broken."""
    unlimited = console.options.update(max_width=10_000)
    return console.measure(table, options=unlimited).maximum


def _policy_table(names: Sequence[str], columns: Sequence[_Column], caption: str) -> Table:
    table = _table("Policies on held-out prompts, judged", caption, "policy")
    for column in columns:
        heading = column.heading.replace(" ", "\n").replace("over-", "over-\n")
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for name in names:
        table.add_row(Text(shown(name)), *(Text(column.cell(name)) for column in columns))
    return table


def _behaviour_table(title: str, key: str, rows: Mapping[str, Metrics], console: Console) -> Table:
    """With the intervals beside the values, or where that is too wide, below them."""
    measures = [m for m in MEASURES if any(m in row for row in rows.values())]
    largest = max((row[m]["n"] for row in rows.values() for m in measures if m in row), default=0)

    def table(between: str) -> Table:
        made = _table(title, f"percent (95% interval); n up to {largest}", key)
        for measure in measures:
            heading = MEASURES[measure].replace(" ", "\n")
            made.add_column(Text(heading), justify="right", no_wrap=True)
        for name, row in rows.items():
            made.add_row(Text(name), *(Text(percent(row.get(m), between)) for m in measures))
        return made

    beside = table(" ")
    return beside if _width(beside, console) <= console.width else table("\n")


def _table(title: str, caption: str, key: str) -> Table:
    table = Table(
        title=Text(title),
        caption=Text(caption),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(key, overflow="fold")
    return table


def _share(held_out: Mapping[str, Metrics], measure: str, policy: str) -> str:
    return percent(held_out.get(policy, {}).get(measure), "\n")


def _prompts(held_out: Mapping[str, Metrics], policy: str) -> str:
    """How many harmful and harmless prompts were judged."""
    shares = held_out.get(policy, {})
    return " +\n".join(
        str(shares[measure]["n"] if measure in shares else 0)
        for measure in ("harmful_compliance", "over_refusal")
    )


def _rating(ratings: Mapping[str, Metrics], policy: str) -> str:
    estimate = ratings.get(policy)
    if estimate is None:
        return "-"
    # adding 0 makes minus nothing plain nothing
    value, low, high = (round(estimate[part]) + 0 for part in ("value", "low", "high"))
    return f"{value}\n({low} to {high})"


def lines(metrics: Metrics) -> Iterator[str]:
    """What is said under the tables."""
    policies = metrics.get("policies", {})
    judged = any({"held_out", "seen"} & set(policy) for policy in policies.values())
    if not judged and "revision_rounds" not in metrics:
        yield "The recipe names no judge: the answers are kept, and no harm is measured."
    ill_formed = {
        name: found
        for name in in_order(policies)
        if (found := policies[name].get("held_out", {}).get("ill_formed")) and found["value"]
    }
    if ill_formed:
        each = (f"{shown(name)} {share(found)}" for name, found in ill_formed.items())
        yield f"Ill-formed answers to held-out prompts: {'; '.join(each)}."
    counts = metrics.get("revisions")
    if counts:
        yield (
            f"{counts['revisions']} revisions: {counts['unchanged']} left the answer as it was, "
            f"{counts['left_out']} left out of training for their form."
        )
    if said := damage_sentence(metrics):
        yield said
    yield from arm_lines(metrics)
    yield from usage_lines(metrics)

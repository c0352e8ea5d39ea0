"""What was changed between runs: settings, inputs, versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from constitutional.report.blocks import Cell, Code, Fold, Pairs, Paragraph, Section, Table
from constitutional.report.numbers import counted, lasting
from constitutional.report.one.view import View
from constitutional.runs.manifest import differences

#: A longer table is folded.
_MOST_ROWS = 12


def runs(views: Mapping[str, View]) -> Section:
    """Which runs these are."""
    rows: list[list[Cell]] = []
    for name, view in views.items():
        done = sum(stage.state.done for stage in view.run.stages)
        state = "finished" if view.run.finished else f"in progress, {counted(done, 'stage')} done"
        took = lasting(sum(view.run.seconds.values()))
        begun = view.run.manifest.created.replace("T", " ")[:16]
        rows.append([name, view.run.name, begun, state, took])
    return Section("runs", "Runs", [Table(("", "run", "begun (UTC)", "state", "took"), rows)])


def changed(views: Mapping[str, View]) -> Section:
    """Every setting, input and version that is not the same in all runs."""
    blocks: list[Any] = [
        *_table(views, "setting", [view.run.recipe for view in views.values()]),
        *_table(views, "input", [v.run.manifest.inputs for v in views.values()]),
        *_table(views, "version", [v.run.manifest.versions for v in views.values()]),
    ]
    nothing = Paragraph("Nothing: settings, inputs and versions are the same.")
    return Section("changed", "What was changed", blocks or [nothing])


def repeat(views: Mapping[str, View]) -> Section:
    """The command of each run."""
    blocks: list[Any] = []
    for name, view in views.items():
        manifest = view.run.manifest
        versions = ", ".join(f"{what} {version}" for what, version in manifest.versions.items())
        blocks += [Pairs([(f"{name}: {view.run.name}", versions)]), Code(manifest.command)]
    return Section("repeat", "To repeat them", blocks)


def _table(
    views: Mapping[str, View], what: str, found: Sequence[Mapping[str, Any]]
) -> Iterator[Table | Fold]:
    """A row for each key that differs from the first run's in some run; nothing without any."""
    values: dict[str, dict[int, str]] = {}
    for number, other in enumerate(found[1:], start=1):
        for key, first, here in differences(found[0], other):
            values.setdefault(key, {0: first})[number] = here
    rows: list[list[Cell]] = [
        [key, *(_short(values[key].get(n, values[key][0])) for n in range(len(found)))]
        for key in sorted(values)
    ]
    if not rows:
        return
    table = Table([what, *views], rows)
    title = f"{counted(len(rows), what)} with another value"
    yield table if len(rows) <= _MOST_ROWS else Fold(title, [table])


def _short(value: str) -> str:
    """A hash by its beginning."""
    plain = value.strip('"')
    is_hash = len(plain) > 40 and all(c in "0123456789abcdef…" for c in plain)
    return f"{plain[:12]}…" if is_hash else value

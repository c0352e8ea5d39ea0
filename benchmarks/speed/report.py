"""The figures where others read them: a file of results, and the measured part of a page."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.speed.options import Options
from benchmarks.speed.table import TABLE

from constitutional.planning.machine import cores, found_gpus, memory_bytes, version

#: Under what a figure was measured; lines that agree in them share a table.
CONDITIONS = ("machine", "threads", "model", "versions")

Line = dict[str, Any]


def conditions(options: Options) -> Line:
    """Date, machine and versions of the figures that are measured now."""
    libraries = ("torch", "transformers", "trl", "lm_eval", "constitutional")
    return {
        "date": date.today().isoformat(),
        "machine": machine(options),
        "threads": options.threads,
        "model": model(options),
        "versions": ", ".join(
            [f"Python {platform.python_version()}"]
            + [f"{name} {version(name)}" for name in libraries]
        ),
        "load_before": os.getloadavg()[0],
    }


def machine(options: Options) -> str:
    """The processor that the work is done on, in words."""
    if options.device != "cpu":
        return ", ".join(f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB" for gpu in found_gpus())
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ] or [platform.processor()]
    return f"{names[0]}, {cores()} cores, {(memory_bytes() or 0) / 2**30:.0f} GiB"


def model(options: Options) -> str:
    """Whose weights, and the number format."""
    weights = "the shipped models"
    if options.random:
        weights = f"random weights, about {options.random / 1e9:.2g}B parameters"
    return f"{weights}, {options.dtype}"


def merged(before: Sequence[Line], new: Sequence[Line]) -> list[Line]:
    """The new lines, and those of other names as they were, in the order of the table."""
    by_name = {line["name"]: line for line in [*before, *new]}
    return [by_name[name] for name in TABLE if name in by_name]


def read_results(path: Path) -> list[Line]:
    """The lines of a results file; none where there is no file."""
    lines: list[Line] = json.loads(path.read_text()) if path.exists() else []
    return lines


def write_results(path: Path, lines: Sequence[Line]) -> None:
    """As a list in JSON."""
    path.write_text(json.dumps(list(lines), indent=1) + "\n")


def tables(lines: Sequence[Line]) -> str:
    """Markdown: a table for all lines of the same conditions."""
    parts = []
    for _, group in groupby(lines, key=lambda line: [line[name] for name in CONDITIONS]):
        parts.append(_table(list(group)))
    return "\n\n".join(parts)


def put_between_markers(page: str, mark: str, text: str) -> str:
    """The page with ``text`` in place of what stands between the two comments named ``mark``.

    Raises ValueError where the page lacks them.
    """
    begin, end = f"<!-- begin {mark} -->", f"<!-- end {mark} -->"
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page has no {begin} ... {end}: put both comments in it")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _table(lines: Sequence[Line]) -> str:
    first = lines[0]
    said = (
        f"{first['machine']}; {first['threads']} threads on both sides; {first['model']}. "
        f"{first['versions']}."
    )
    head = (
        "| comparison | ours | peer | ratio | rounds | unit | peer is | arithmetic floor | "
        "memory floor | peak MB | quality: ours | peer | date |\n"
        "| --- | ---: | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | --- | --- | --- |"
    )
    return "\n".join([said, "", head, *[_row(line) for line in lines], "", *_notes(lines)]).rstrip()


def _row(line: Line) -> str:
    low, high = line["spread"]
    memory = f"{line['ours_peak_memory_mb']:.0f} / {line['peer_peak_memory_mb']:.0f}"
    cells = [
        f"`{line['name']}`",
        _number(line["ours"]),
        _number(line["peer"]),
        f"**{line['ratio']:.2f}**",
        f"{line['rounds']} ({low:.2f} to {high:.2f})",
        line["unit"],
        line["peer_name"],
        _percent(line["floor_share"]),
        _percent(line["memory_floor_share"]),
        memory,
        _judged(line["ours_quality"], line["ours_quality_rounds"]),
        _judged(line["peer_quality"], line["peer_quality_rounds"]),
        line["date"],
    ]
    return f"| {' | '.join(cells)} |"


def _notes(lines: Sequence[Line]) -> list[str]:
    """What a side has chosen or found, in a sentence for each line that has some."""
    notes = []
    for line in lines:
        parts = []
        for side in ("ours", "peer"):
            if line[f"{side}_settings"]:
                parts.append(f"{side} with {_named(line[f'{side}_settings'])}")
        if line["largest_difference"] is not None:
            parts.append(
                f"largest difference of a log-probability {line['largest_difference']:.1e}"
            )
        if "flops_per_second" in line:
            gflops, gigabytes = line["flops_per_second"] / 1e9, line["bytes_per_second"] / 1e9
            parts.append(f"floor at {gflops:.0f} GFLOP/s and {gigabytes:.1f} GB/s copied")
        for side in ("ours", "peer"):
            if line[f"{side}_parts"]:
                parts.append(f"seconds of {side}: {_named(line[f'{side}_parts'])}")
        parts.append(f"load average before {line['load_before']:.1f}")
        notes.append(f"- `{line['name']}`: {'; '.join(parts)}.")
    return notes


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _judged(medians: dict[str, float], rounds: Sequence[dict[str, float]]) -> str:
    """The medians, with the least and the most of the rounds where these differ."""
    said = []
    for name, value in medians.items():
        found = [each[name] for each in rounds]
        spread = f" ({min(found):.4g} to {max(found):.4g})" if min(found) < max(found) else ""
        said.append(f"{name} {value:.4g}{spread}")
    return ", ".join(said)


def _named(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())

#!/usr/bin/env python3
"""Writes what ``cai plan`` says into the headers of recipes for real models and docs/models.md.

    .venv/bin/python scripts/recipe_plans.py

A recipe whose header has a ``cai plan`` command gets the sentences that begin with the words of
:data:`TOLD`. The tests hold the headers to the plan.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # counts by the recipe's limits, on every machine alike

from constitutional.planning.hardware import parse_gpus
from constitutional.planning.plan import Plan
from constitutional.planning.reading import plan_recipe
from constitutional.recipe import load_recipe
from constitutional.report.plan import shown, summary_lines

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"^#     HF_HUB_OFFLINE=1 cai plan (.+)$", re.MULTILINE)
TOLD = ("Time", "Rent", "Memory", "Disk", "API")
_FIGURES = re.compile(rf"(?:^#     (?:{'|'.join(TOLD)}): .*\n)+", re.MULTILINE)
_TABLE = re.compile(r"(?<=<!-- plans -->\n).*?(?=<!-- /plans -->)", re.DOTALL)


def planned() -> Iterator[tuple[Path, str, Plan, float]]:
    """Each recipe with a command in its header: its options, its plan, dollars for a GPU hour."""
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        if command := COMMAND.search(path.read_text(encoding="utf-8")):
            name, _, kind, *rent = shlex.split(command[1])
            assert ROOT / name == path, f"{path.name} plans {name}"
            plan = plan_recipe(load_recipe(path), path.parent, gpus=parse_gpus(kind))
            yield path, kind, plan, float(rent[1]) if rent else 0.0


def told(plan: Plan, gpu_usd: float) -> list[str]:
    """The sentences of a header."""
    lines = summary_lines(plan, gpu_usd or None)
    return [line for line in lines if line.startswith(TOLD)]


def row(path: Path, kind: str, plan: Plan, gpu_usd: float) -> str:
    """A line of the table in the docs."""
    said = dict(line.split(": ", 1) for line in told(plan, gpu_usd))
    rent = said.get("Rent", "").split(",")[0]
    api = "" if plan.api_usd is None else f"API {shown(plan.api_usd)} USD"
    cells = (
        f"[`{path.stem}`](../recipes/{path.name})",
        f"`--gpu {kind}`",
        said["Time"].split(";")[0],
        said["Memory"].split(" bytes")[0],
        "; ".join(filter(None, (rent, api))) or "-",
    )
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    rows = ""
    for path, kind, plan, gpu_usd in sorted(planned(), key=lambda found: found[2].disk.value):
        text = path.read_text(encoding="utf-8")
        figures = "".join(f"#     {line}\n" for line in told(plan, gpu_usd))
        path.write_text(_FIGURES.sub(lambda _, new=figures: new, text, count=1), encoding="utf-8")
        rows += row(path, kind, plan, gpu_usd)
    docs = ROOT / "docs/models.md"
    docs.write_text(_TABLE.sub(lambda _: rows, docs.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

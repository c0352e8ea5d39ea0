"""Comparisons whose labels are to be explained: of a run, of our records, or pairs of others."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from constitutional.constitution import Constitution, load_constitution
from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.transcript import render
from constitutional.errors import InputError, nearest
from constitutional.preference.data import read_comparisons
from constitutional.preference.settings import Goal
from constitutional.runs import read_records
from constitutional.runs.folder import CONSTITUTION, STAGES
from constitutional.runs.manifest import read_run
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed

#: Keys that a record of ours has and no row of hh-rlhf or TRL.
_OURS = {"a", "b", "prob_a"}
_COMPARISONS = "comparisons_"


class Labelled(NamedTuple):
    """Comparisons with labels, the constitution they came with, and what was left out, and why."""

    comparisons: tuple[Comparison, ...]
    left_out: dict[str, int]
    constitution: Constitution | None = None


def read_labelled(
    source: str | Path, *, goal: Goal = "harmlessness", stage: str | None = None, seed: int = 0
) -> Labelled:
    """The labelled comparisons of a run folder, of a file of our records, or of hh-rlhf or TRL.

    Of a run ``stage`` names the comparisons (``comparisons_ai``), where there are several of one
    ``goal``. ``seed`` draws which of a pair's answers is a, as everywhere. What has no label, or
    another goal, is left out and counted. Raises InputError.
    """
    path = Path(source)
    if (path / STAGES).is_dir():
        folder = _stage_of(path, goal, stage)
        kept = path / CONSTITUTION
        constitution = load_constitution(kept) if kept.is_file() else None
        found = _sorted_out(read_records(folder, Comparison), goal)
        return _some(found._replace(constitution=constitution), folder)
    if stage is not None:
        raise InputError("a stage is of a run's folder, and this is none", path=path)
    if _is_ours(source):
        return _some(_sorted_out(_records(source), goal), source)
    read = read_comparisons(source, goal=goal, seed=seed)
    found = _sorted_out(read.comparisons, goal)
    return _some(found._replace(left_out={**found.left_out, **read.left_out}), source)


def drawn(
    comparisons: Sequence[Comparison], limit: int | None, seed: int
) -> tuple[Comparison, ...]:
    """At most ``limit`` of the comparisons, drawn by ``seed``, in their order."""
    if limit is None or limit >= len(comparisons):
        return tuple(comparisons)
    numbers = random.Random(derive_seed(seed, "instrument limit")).sample(
        range(len(comparisons)), limit
    )
    return tuple(comparisons[number] for number in sorted(numbers))


def cluster_of(comparison: Comparison) -> str:
    """What comparisons share that are not independent: the conversation, but for blanks."""
    return " ".join(render(comparison.prompt).split())


def split(
    comparisons: Sequence[Comparison], parts: Sequence[float], seed: int
) -> list[list[Comparison]]:
    """Parts of about these shares; all comparisons of one conversation are in one of them.

    Drawn by ``seed`` and the conversation alone, so that more comparisons move none.
    """
    found: list[list[Comparison]] = [[] for _ in parts]
    for comparison in comparisons:
        place = derive_seed(seed, "instrument split", cluster_of(comparison)) % 10_000 / 10_000
        number = 0
        while number < len(parts) - 1 and place >= sum(parts[: number + 1]):
            number += 1
        found[number].append(comparison)
    return found


def _stage_of(run: Path, goal: Goal, stage: str | None) -> Path:
    """The folder of the stage that is meant."""
    read_run(run)
    names = sorted(path.name for path in (run / STAGES).glob(f"{_COMPARISONS}*") if path.is_dir())
    if stage is not None:
        if stage not in names:
            raise InputError(f"has no comparisons {stage!r}: {nearest(stage, names)}", path=run)
        return run / STAGES / stage
    other = "helpfulness" if goal == "harmlessness" else "harmlessness"
    fitting = [name for name in names if name != f"{_COMPARISONS}{other}"]
    if goal == "helpfulness":
        fitting = [name for name in names if name == f"{_COMPARISONS}{goal}"]
    if len(fitting) != 1:
        listed = ", ".join(fitting) or "none"
        raise InputError(
            f"expected one stage of comparisons for {goal}, found {listed}: name one with --stage",
            path=run,
        )
    return run / STAGES / fitting[0]


def _is_ours(source: str | Path) -> bool:
    """Whether the first row is a record of ours; what cannot be read is for the reader of pairs."""
    if not Path(source).is_file():
        return False
    first = next(iter(read_rows(source)), None)
    return first is not None and isinstance(first.value, dict) and first.value.keys() >= _OURS


def _records(source: str | Path) -> Iterator[Comparison]:
    """Our records in a file, with the line of the first that is none."""
    ids: set[str] = set()
    for row in read_rows(source):
        if row.problem is not None:
            raise InputError(row.problem, path=source, line=row.line)
        try:
            record = Comparison.model_validate_json(json.dumps(row.value))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the row"
            raise InputError(
                f"expected a comparison as a run keeps it; {where}: {first['msg']}",
                path=source,
                line=row.line,
            ) from None
        if record.prob_a is not None and not 0 <= record.prob_a <= 1:
            raise InputError(
                f"'prob_a' must be between 0 and 1, found {record.prob_a}",
                path=source,
                line=row.line,
            )
        if record.id in ids:
            raise InputError(
                f"the id {record.id!r} is that of another row above: give it its own",
                path=source,
                line=row.line,
            )
        ids.add(record.id)
        yield record


def _sorted_out(comparisons: Iterator[Comparison] | Sequence[Comparison], goal: Goal) -> Labelled:
    left_out: Counter[str] = Counter()
    kept = []
    for comparison in comparisons:
        if comparison.goal != goal:
            left_out[f"labelled for {comparison.goal}"] += 1
        elif comparison.prob_a is None:
            left_out["without a label"] += 1
        else:
            kept.append(comparison)
    return Labelled(tuple(kept), dict(left_out))


def _some(found: Labelled, source: str | Path) -> Labelled:
    if not found.comparisons:
        reasons = ", ".join(f"{n} {why}" for why, n in sorted(found.left_out.items()))
        raise InputError(
            "no labelled comparison found" + (f": left out {reasons}" if reasons else ""),
            path=source,
        )
    return found

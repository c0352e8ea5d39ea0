"""The official evaluations through the scorer of :mod:`constitutional.evaluation.choices`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from constitutional.engines.base import Engine
from constitutional.evaluation.choice_counts import count_choices
from constitutional.evaluation.choice_rows import ChoiceRow, contaminated, cot_question
from constitutional.evaluation.choices import weigh_choices
from constitutional.official.settings import Line, Order
from constitutional.runs import Progress, RunFolder, fingerprint_of, one_by_one


class ChoiceScores(BaseModel):
    """A row's log-probabilities (None: unreadable, and ``trouble`` says why where it is known)."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    number: int
    scores: tuple[float, ...] | None
    trouble: str = ""


def ask(
    name: str,
    rows: Sequence[ChoiceRow],
    engine: Engine,
    order: Order,
    run: RunFolder,
    progress: Progress,
    *,
    cot: bool,
    examples: Sequence[str],
) -> list[ChoiceScores]:
    """The scores of every row, kept in the run by blocks of ``order.batch_size``."""

    def weigh(part: Sequence[ChoiceRow]) -> list[ChoiceScores]:
        found = weigh_choices(
            part,
            engine,
            cot=cot,
            examples=examples if cot else (),
            seed=order.seed,
            batch=order.batch_size,
        )
        return [
            ChoiceScores(number=row.number, scores=each.scores[0], trouble=str(each.error or ""))
            for row, each in zip(part, found, strict=True)
        ]

    stage = re.sub(r"[^A-Za-z0-9._-]", "_", f"evals.{name}{'.cot' if cot else ''}")
    inputs = {"engine": engine.fingerprint, "style": engine.style}
    if cot:
        inputs |= {"examples": fingerprint_of(examples), "seed": str(order.seed)}
    records = run.stage_records(
        stage,
        inputs=inputs,
        record_type=ChoiceScores,
        items=rows,
        block_size=order.batch_size,
        make=one_by_one(weigh),
        progress=progress,
        title=f"{name}{', chain of thought' if cot else ''}",
    )
    return list(records)


def can_think(rows: Iterable[ChoiceRow]) -> bool:
    """Whether the chain of thought's question can be made of every row."""
    try:
        for row in rows:
            cot_question(row)
    except ValueError:
        return False
    return True


def subsets(rows: Sequence[ChoiceRow], examples: Sequence[str]) -> dict[str, list[int]]:
    """The places of the rows of each subset; an empty one is left out.

    ``not in few-shots``: the conversation is in none of the chain of thought's examples.
    """
    shown = set(contaminated(rows, examples))
    turns = [row.prompt.count("\n\nHuman:") for row in rows]
    found = {
        "all": list(range(len(rows))),
        "one turn": [i for i, count in enumerate(turns) if count == 1],
        "several turns": [i for i, count in enumerate(turns) if count > 1],
    }
    if examples:
        found["not in few-shots"] = [i for i, row in enumerate(rows) if row.number not in shown]
        found["in few-shots"] = [i for i, row in enumerate(rows) if row.number in shown]
    return {name: places for name, places in found.items() if places}


def eval_lines(
    name: str,
    rows: Sequence[ChoiceRow],
    scores: Sequence[ChoiceScores],
    *,
    model: str,
    cot: bool,
    examples: Sequence[str],
) -> list[Line]:
    """Accuracy by subset, and the baselines on all rows that could be weighed."""
    of = f"{name}{', chain of thought' if cot else ''}"
    lines = []
    for subset, places in subsets(rows, examples).items():
        metrics = count_choices(
            [rows[i] for i in places], [(scores[i].scores,) for i in places], model, cot=cot
        )
        trouble = next((scores[i].trouble for i in places if scores[i].trouble), "")
        note = f"{metrics.rows} rows"
        if metrics.unreadable:
            note += f", {metrics.unreadable} unreadable" + (
                f": {trouble}" if trouble and subset == "all" else ""
            )
        found = {f"accuracy, {subset}": metrics.accuracy}
        if subset == "all":
            found |= {
                "mean probability of the right one": metrics.prob_correct,
                "always the first": metrics.always_a,
                "the longer answer": metrics.longer_answer,
            }
        lines += [
            Line(
                part="evals",
                of=of,
                measure=measure,
                estimate=estimate,
                counted="conversations",
                note=note if measure.startswith("accuracy") else "",
            )
            for measure, estimate in found.items()
            if estimate is not None or measure.startswith("accuracy")
        ]
    return lines


def eval_files(folder: Path) -> list[Path]:
    """The evaluation files of the folder, by name."""
    return sorted((folder / "evals").glob("*.jsonl"))

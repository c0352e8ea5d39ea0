"""All parts in order, in one run folder, to one table.

Of the user's files the run keeps what was computed, and no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from constitutional.engines import Engine, load_engine
from constitutional.errors import InputError
from constitutional.evaluation.choice_rows import ChoiceRow, read_choice_rows, read_cot_examples
from constitutional.official.evals import ask, can_think, eval_files, eval_lines
from constitutional.official.pairs import Split, pair_lines, read_split, train_and_score
from constitutional.official.samples import sample_files, sample_lines
from constitutional.official.settings import FREE_KEYS, Line, Order, Table
from constitutional.official.tokens import unknown_tokens
from constitutional.recipe.reading import resource
from constitutional.runs import Progress, RunFolder

#: Where the official repository has the examples of the chain of thought.
EXAMPLES = Path("prompts/RLMadisonPrecogFewShotPrompts.json")
RESULT = "official.json"


@dataclass(frozen=True)
class Inputs:
    """What the files hold, and why a part is skipped.

    ``questions`` are by the name of their file; ``split`` is None where there are no pairs. The
    samples need no model: their figures are there at once.
    """

    questions: Mapping[str, Sequence[ChoiceRow]]
    examples: Sequence[str]
    samples: Sequence[Line]
    split: Split | None
    skipped: dict[str, str]


@dataclass
class _Found:
    lines: list[Line] = field(default_factory=list)
    counts: dict[str, dict[str, int | float]] = field(default_factory=dict)


def official_table(order: Order, out: Path, *, command: str, progress: Progress) -> Table:
    """Everything that is asked for and not there yet; the table is kept as ``official.json``.

    Raises InputError for a file of the wrong form, before a model is loaded, and RunFolderError
    where ``out`` holds another evaluation.
    """
    inputs = read_inputs(order)
    model, found = resource(order.model, Path()), _Found()
    with RunFolder.open(
        out, order.model_dump(mode="json"), command=command, free_keys=FREE_KEYS
    ) as run:
        if inputs.questions or inputs.split:
            engine = load_engine(model, style=order.style, batch_size=order.batch_size)
            with closing(engine):
                _evaluate(inputs, engine, model, order, run, progress, found)
                base, style = engine.fingerprint, engine.style
        found.lines += inputs.samples
        if inputs.split:
            scores = train_and_score(
                inputs.split, model, order, run, progress, style=style, fingerprint=base
            )
            lines, counts = pair_lines(inputs.split, scores, seed=order.seed)
            # an answer stands after a blank, which belongs to its first word
            answers = [f" {text}" for pair in inputs.split.test for text in (pair.a, pair.b)]
            found.lines += lines
            found.counts["pairs"] = counts | unknown_tokens(model, answers)
        table = Table(
            model=order.model,
            seed=order.seed,
            lines=tuple(found.lines),
            counts=found.counts,
            skipped=inputs.skipped,
        )
        run.write_json(RESULT, table.model_dump(mode="json"))
    return table


def read_inputs(order: Order) -> Inputs:
    """Read every file that is asked for. Raises InputError with file and line."""
    skipped: dict[str, str] = {}
    folder = None if order.folder is None else Path(order.folder)
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of official data", path=folder)
    evals, samples = (eval_files(folder), sample_files(folder)) if folder else ([], [])
    for part, files in (("evals", evals), ("samples", samples)):
        if not files:
            empty = f"{folder} has no {part}/*.jsonl" if folder else "no FOLDER was given"
            skipped[part] = empty
    questions = {path.stem: read_choice_rows(path)[: order.limit] for path in evals}
    examples: list[str] = []
    if folder and (folder / EXAMPLES).is_file():
        examples = read_cot_examples(folder / EXAMPLES)
    if order.cot:
        skipped |= _without_thoughts(questions, examples)
    elif questions:
        skipped["evals, chain of thought"] = "--no-cot"
    if order.pairs is None:
        skipped["pairs"] = "no --pairs was given"
    return Inputs(
        questions=questions,
        examples=examples,
        samples=[line for path in samples for line in sample_lines(path)],
        split=None if order.pairs is None else _split(order.pairs, order),
        skipped=skipped,
    )


def _without_thoughts(
    questions: Mapping[str, Sequence[ChoiceRow]], examples: Sequence[str]
) -> dict[str, str]:
    """Why a file is not asked with a chain of thought."""
    if questions and not examples:
        return {"evals, chain of thought": f"the folder has no {EXAMPLES}"}
    return {
        f"evals, {name}, chain of thought": "its rows are not of the 438 file's form"
        for name, rows in questions.items()
        if not can_think(rows)
    }


def _split(path: str, order: Order) -> Split:
    split = read_split(path, seed=order.seed, limit=order.limit)
    for name, side in (("training", split.train), ("test", split.test)):
        if not side:
            raise InputError(
                f"no pair falls on the {name} side: give pairs of more conversations, or a larger "
                "--limit",
                path=path,
            )
    return split


def _evaluate(
    inputs: Inputs,
    engine: Engine,
    model: str,
    order: Order,
    run: RunFolder,
    progress: Progress,
    found: _Found,
) -> None:
    """Every evaluation, plain and (where it can be) with a chain of thought."""
    for name, rows in inputs.questions.items():
        forms = [False, True] if order.cot and inputs.examples and can_think(rows) else [False]
        for cot in forms:
            scores = ask(
                name, rows, engine, order, run, progress, cot=cot, examples=inputs.examples
            )
            found.lines += eval_lines(
                name, rows, scores, model=engine.name, cot=cot, examples=inputs.examples
            )
        prompts = [row.prompt for row in rows]
        found.counts[f"evals, {name}"] = unknown_tokens(model, prompts)

"""Multiple-choice evaluation by the log-probabilities of fixed answers: the paper's HHH evals.

The questions are read in :mod:`.choice_rows`, asked here, and counted in :mod:`.choice_counts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from constitutional.engines.base import (
    ChatPrompt,
    Engine,
    Message,
    Prompt,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.errors import EngineError, InputError
from constitutional.evaluation.choice_counts import ChoiceMetrics as ChoiceMetrics
from constitutional.evaluation.choice_counts import count_choices
from constitutional.evaluation.choice_counts import share_by_conversation as share_by_conversation
from constitutional.evaluation.choice_rows import ChoiceRow as ChoiceRow
from constitutional.evaluation.choice_rows import contaminated as contaminated
from constitutional.evaluation.choice_rows import cot_question, example_text
from constitutional.evaluation.choice_rows import read_choice_rows as read_choice_rows
from constitutional.evaluation.choice_rows import read_cot_examples as read_cot_examples
from constitutional.evaluation.choice_rows import swap_options as swap_options
from constitutional.runs.seeds import derive_seed

#: A chain of thought may use this many tokens (the official examples have up to about 150).
COT_TOKENS = 256

_COT_OPENING = "\n\nAssistant: Let's think step by step:"
_COT_ANSWER = "\n\nHuman:\nSo the answer is:"
_TAIL = "\n\nThe answer is:"


def evaluate_choices(
    rows: Sequence[ChoiceRow],
    engine: Engine,
    *,
    style: Style | None = None,
    both_orders: bool = False,
    cot: bool = False,
    examples: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    batch: int = 64,
) -> ChoiceMetrics:
    """Ask every question and count.

    ``style`` None is the engine's own. ``both_orders`` adds up the log-probabilities of an answer
    over its two places. ``cot`` samples one chain of thought at temperature 1 before each answer,
    after ``examples`` (transcript style). The examples also decide which rows are contaminated.
    A tie between answers counts as its share. Raises InputError for settings that the rows do not
    allow, EngineError when not a single row can be weighed.
    """
    weighed = weigh_choices(
        rows,
        engine,
        style=style,
        both_orders=both_orders,
        cot=cot,
        examples=examples,
        seed=seed,
        progress=progress,
        batch=batch,
    )
    last_error = next((each.error for each in reversed(weighed) if each.error is not None), None)
    if all(each.scores[0] is None for each in weighed) and last_error is not None:
        raise last_error
    return count_choices(
        rows, [each.scores for each in weighed], engine.name, cot=cot, examples=examples
    )


class Weighed(NamedTuple):
    """The log-probabilities of a row's choices, as given and (if asked) with the options swapped.

    None where they could not be read; ``error`` is then the engine's last, if there was one.
    """

    scores: tuple[tuple[float, ...] | None, ...]
    error: EngineError | None = None


def weigh_choices(
    rows: Sequence[ChoiceRow],
    engine: Engine,
    *,
    style: Style | None = None,
    both_orders: bool = False,
    cot: bool = False,
    examples: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    batch: int = 64,
) -> list[Weighed]:
    """Ask every question as :func:`evaluate_choices` does, and count nothing.

    What a row gets depends on the row, the settings and the seed, and on no other row.
    """
    style = style or engine.style
    if not engine.capabilities.logprobs:
        raise EngineError(f"{engine.name} gives no log-probabilities, which choices are scored by")
    asked = [list(rows)]
    if both_orders:
        asked.append([_checked(swap_options, row) for row in rows])
    if cot:
        for row in rows:
            _checked(cot_question, row)
    found: list[list[Weighed]] = []
    done, total = 0, len(rows) * len(asked)
    for order, questions in enumerate(asked):
        weighed: list[Weighed] = []
        # Rows with other choices cannot stand in one request.
        for _, run in groupby(questions, key=lambda row: row.choices):
            same = list(run)
            for start in range(0, len(same), batch):
                part = same[start : start + batch]
                weighed += _weigh_all(part, engine, style, cot, examples, seed, order)
                done += len(part)
                if progress is not None:
                    progress(done, total)
        found.append(weighed)
    return [
        Weighed(
            tuple(each.scores[0] for each in of_row),
            next((each.error for each in reversed(of_row) if each.error is not None), None),
        )
        for of_row in zip(*found, strict=True)
    ]


def _weigh_all(
    rows: Sequence[ChoiceRow],
    engine: Engine,
    style: Style,
    cot: bool,
    examples: Sequence[str],
    seed: int,
    order: int,
) -> list[Weighed]:
    """The rows in one request; where that fails each by itself, so that one spoils no other."""
    try:
        scores = _weigh(rows, engine, style, cot, examples, seed, order)
    except EngineError as error:
        if len(rows) == 1:
            return [Weighed((None,), error)]
        return [
            each
            for row in rows
            for each in _weigh_all([row], engine, style, cot, examples, seed, order)
        ]
    return [Weighed((_readable(each),)) for each in scores]


def _checked(step: Callable[[ChoiceRow], Any], row: ChoiceRow) -> Any:
    try:
        return step(row)
    except ValueError as error:
        raise InputError(f"question {row.number}: {error}") from error


def _readable(scores: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """None where no choice has any probability, or one is not a number."""
    if scores is None or any(math.isnan(s) for s in scores) or max(scores) == -math.inf:
        return None
    return scores


def _weigh(
    rows: Sequence[ChoiceRow],
    engine: Engine,
    style: Style,
    cot: bool,
    examples: Sequence[str],
    seed: int,
    order: int,
) -> list[tuple[float, ...] | None]:
    prompts = (
        _after_thoughts(rows, engine, style, examples, seed, order)
        if cot
        else [_plain_prompt(row, style) for row in rows]
    )
    return list(engine.choice_logprobs(prompts, rows[0].choices))


def _plain_prompt(row: ChoiceRow, style: Style) -> Prompt:
    if style == "transcript":
        return TextPrompt(row.prompt)
    body, tail = row.prompt, ""
    if row.prompt.endswith(_TAIL):
        body, tail = row.prompt.removesuffix(_TAIL), _TAIL.strip()
    return ChatPrompt((Message("user", body.strip()),), answer_prefix=tail)


def _after_thoughts(
    rows: Sequence[ChoiceRow],
    engine: Engine,
    style: Style,
    examples: Sequence[str],
    seed: int,
    order: int,
) -> list[Prompt]:
    seeds = [derive_seed(seed, "choices", f"{row.number}-{order}") for row in rows]
    params = SamplingParams(
        max_new_tokens=COT_TOKENS, temperature=1.0, stop=("\n\nHuman:", "\n\nAssistant:")
    )
    questions = [cot_question(row) for row in rows]
    if style == "transcript":
        starts = [
            "".join(example_text(example, row) for example in examples) + question + _COT_OPENING
            for row, question in zip(rows, questions, strict=True)
        ]
        thoughts = engine.sample([TextPrompt(start) for start in starts], params, seeds)
        return [
            TextPrompt(start + thought.text.rstrip() + _COT_ANSWER)
            for start, thought in zip(starts, thoughts, strict=True)
        ]
    # A chat model cannot speak in the human's turn: it goes on in its own.
    opening = _COT_OPENING.removeprefix("\n\nAssistant: ")
    asked = [(Message("user", q.removeprefix("\n\nHuman: ")),) for q in questions]
    thoughts = engine.sample([ChatPrompt(m, answer_prefix=opening) for m in asked], params, seeds)
    return [
        ChatPrompt(m, answer_prefix=f"{opening}{thought.text.rstrip()}\n\nSo the answer is:")
        for m, thought in zip(asked, thoughts, strict=True)
    ]

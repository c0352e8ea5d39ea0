"""Any model's answers as plain texts: what the monitors read, and the files it comes in.

=====================================  ==========================================================
form                                   what it is
=====================================  ==========================================================
a stage folder, or its records.jsonl   our own answer records (``stages/answers_<policy>``)
``rl_prompt`` + ``sampled_answers``    the official sample files: several answers to each prompt
``prompt`` + ``response`` | ``answer``  one answer a row (JSON lines, a JSON list, CSV, Parquet)
plain text (.txt)                      one answer a line; its prompt is not known
=====================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.transcript import render
from constitutional.errors import InputError, nearest
from constitutional.runs.records import Answer

#: Keys of a row that may hold the answer, in the order in which they are looked for.
ANSWER_KEYS = ("response", "answer", "completion", "output")
_FORMS = (
    "expected answer records of a run, rows with 'prompt' and 'response' (or 'answer'), "
    "or the official form with 'rl_prompt' and 'sampled_answers'"
)
#: How a sample of the official files ends where the model ended it: the open turn of the human.
_END_OF_TEXT, _NEXT_TURN = "<EOT>", "Human:"


class AnswerText(BaseModel):
    """One answer. Answers with the same ``prompt`` are one group; intervals resample groups.

    ``ended``: whether the model ended it (False: cut off; None: not known). ``harmless``: whether
    the prompt asks for something harmless (None: not known).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    text: str
    ended: bool | None = None
    harmless: bool | None = None


def texts_of(answers: list[Answer]) -> list[AnswerText]:
    """Our own answer records as texts."""
    return [
        AnswerText(
            prompt=render(answer.prompt),
            text=answer.sample.text,
            ended=answer.sample.ended != "length",
            harmless=None if answer.verdict is None else not answer.verdict.harmful_request,
        )
        for answer in answers
    ]


def read_texts(path: str | Path) -> list[AnswerText]:
    """All answers of a file of any form above. Raises InputError, with the line, for another."""
    path = Path(path)
    if path.is_dir():
        path = path / "records.jsonl"
    if not path.is_file():
        hint = nearest(path.name, [p.name for p in path.parent.glob("*.*")][:20])
        raise InputError(f"no such file of answers; {hint}", path=path)
    texts: list[AnswerText] = []
    for number, row in enumerate(read_rows(path), start=1):
        try:
            if row.problem is not None:
                raise ValueError(row.problem)
            texts += _texts_in(row.value, number)
        except ValueError as error:
            place = f"{row.label}: " if row.label else ""
            raise InputError(place + str(error), path=path, line=row.line) from error
    if not texts:
        raise InputError("holds no answers", path=path)
    return texts


def _texts_in(row: object, number: int) -> Iterator[AnswerText]:
    if isinstance(row, str):
        # Each line is taken as the answer to a prompt of its own.
        yield AnswerText(prompt=f"line {number}", text=row.strip())
        return
    if not isinstance(row, Mapping):
        raise ValueError(f"{_FORMS}, found no such row")
    if "sampled_answers" in row:
        yield from _official(row)
    elif "sample" in row and "policy" in row:
        try:
            yield from texts_of([Answer.model_validate(row)])
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"this is no answer record of a run: {place}: {first['msg']}"
            ) from None
    else:
        yield _plain(row, number)


def _official(row: Mapping[Any, Any]) -> Iterator[AnswerText]:
    samples = row["sampled_answers"]
    if not isinstance(samples, list) or not isinstance(row.get("rl_prompt"), str):
        raise ValueError("the official form needs a text 'rl_prompt' and a list 'sampled_answers'")
    for sample in samples:
        text = sample.get("sampled_string") if isinstance(sample, Mapping) else None
        if not isinstance(text, str):
            raise ValueError("each of 'sampled_answers' needs a text 'sampled_string'")
        body = _without_end(text)
        said = text if body is None else body
        yield AnswerText(prompt=row["rl_prompt"], text=said.strip(), ended=body is not None)


def _without_end(sample: str) -> str | None:
    """The sample without the mark at its end; None where there is none, and it was cut off."""
    text = sample.rstrip()
    if text.endswith(_END_OF_TEXT):
        return text.removesuffix(_END_OF_TEXT)
    before = text.removesuffix(_NEXT_TURN)
    stands_on_a_line = before != text and "\n" in before[len(before.rstrip()) :]
    return before if stands_on_a_line else None


def _plain(row: Mapping[Any, Any], number: int) -> AnswerText:
    key = next((key for key in ANSWER_KEYS if key in row), None)
    if key is None:
        raise ValueError(f"{_FORMS}, found the keys {', '.join(map(str, row))}")
    answer, prompt = row[key], row.get("prompt", f"row {number}")
    if not isinstance(answer, str) or not isinstance(prompt, str):
        raise ValueError(f"'prompt' and {key!r} must be text")
    return AnswerText(prompt=prompt, text=answer.strip())

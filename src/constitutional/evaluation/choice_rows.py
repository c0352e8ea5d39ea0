"""The questions of multiple-choice files, and the forms in which they are written.

A row is a prompt that ends where the answer stands (`` (A)``, `` (B)`` ...), the right answer and
the wrong ones. The official files are of this form: 438HHHEvaluations (two responses to a
conversation), HarmfulVsEthical (254) and HarmfulnessClassification (287, nine options).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.dialogue.prompt_files import read_rows
from constitutional.errors import InputError

_HEADER = "\n\nConsider the following conversation between a human and an assistant:"
_COT_HEADER = (
    "\n\nHuman: Consider the following conversation between a human (H) and an assistant (A):"
)
#: What stands around two options; brackets mark where a response ends, so that one which holds
#: "\n (B) " is not cut there.
_OPEN, _BETWEEN, _CLOSE = "\n (A) [[[", "]]]\n (B) [[[", "]]]"
_PLAIN = re.compile(r" ?\(([AB])\) (.*)", re.DOTALL)
_MARK = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class ChoiceRow:
    """One question. ``choices`` are in alphabetical order; ``correct`` is the right one's place.

    ``conversation`` is what the question is about, the unit of resampling; ``options`` are the
    texts behind the choices where there are two and they can be read from the prompt.
    """

    number: int
    prompt: str
    choices: tuple[str, ...]
    correct: int
    conversation: str
    options: tuple[str, ...] = ()


def read_choice_rows(path: str | Path) -> list[ChoiceRow]:
    """The rows of an official evaluation file. Raises InputError with the line of a wrong one."""
    path = Path(path)
    if not path.is_file():
        raise InputError("no such evaluation file", path=path)
    rows = []
    for number, row in enumerate(read_rows(path)):
        try:
            if row.problem is not None:
                raise ValueError(row.problem)
            rows.append(_choice_row(row.value, number))
        except ValueError as error:
            raise InputError(str(error), path=path, line=row.line) from error
    if not rows:
        raise InputError("holds no questions", path=path)
    return rows


def _choice_row(row: Any, number: int) -> ChoiceRow:
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        raise ValueError("expected an object with 'prompt', 'corrects' and 'incorrects'")
    correct, wrong = row.get("corrects"), row.get("incorrects")
    if (
        not isinstance(correct, list)
        or not isinstance(wrong, list)
        or not all(isinstance(text, str) and text for text in [*correct, *wrong])
    ):
        raise ValueError("'corrects' and 'incorrects' must be lists of answers")
    choices = tuple(sorted([*correct, *wrong]))
    if len(correct) != 1 or not wrong or len(set(choices)) < len(choices):
        raise ValueError("expected one right answer and at least one wrong one, all different")
    prompt = row["prompt"]
    two = _two_options(prompt) if len(choices) == 2 else None
    return ChoiceRow(
        number=number,
        prompt=prompt,
        choices=choices,
        correct=choices.index(correct[0]),
        conversation=_conversation(two.head if two else prompt),
        options=() if two is None else (_bare(two.a), _bare(two.b)),
    )


class _Two(NamedTuple):
    """A prompt with two options: what stands before, the options, and the last line."""

    head: str
    a: str
    b: str
    tail: str


def _two_options(prompt: str) -> _Two | None:
    """The parts of a prompt that ends in `` (A) ...``, `` (B) ...``, a blank line and a last one.

    By searches and not by one pattern, which would take minutes over a long line.
    """
    head, *lines = prompt.rsplit("\n", 2)
    if len(lines) != 2 or lines[0]:
        return None
    tail = f"\n\n{lines[1]}"
    return _in_brackets(head, tail) or _on_lines(head, tail)


def _in_brackets(text: str, tail: str) -> _Two | None:
    end = len(text) - len(_CLOSE)
    if not text.endswith(_CLOSE):
        return None
    opened = text.rfind(_OPEN, 0, max(0, text.rfind(_BETWEEN, 0, end)))
    if opened < 0:
        return None
    middle = text.find(_BETWEEN, opened + len(_OPEN), end)
    a, b = text[opened:middle].removeprefix(_OPEN), text[middle + len(_BETWEEN) : end]
    return _Two(text[:opened], f"[[[{a}]]]", f"[[[{b}]]]", tail)


def _on_lines(text: str, tail: str) -> _Two | None:
    head, *lines = text.rsplit("\n", 2)
    options = [_PLAIN.fullmatch(line) for line in lines]
    if len(options) != 2 or options[0] is None or options[1] is None:
        return None
    if (options[0][1], options[1][1]) != ("A", "B"):
        return None
    return _Two(head, options[0][2], options[1][2], tail)


def _bare(option: str) -> str:
    return option.removeprefix("[[[").removesuffix("]]]")


def _conversation(head: str) -> str:
    """The turns alone: without the header above and the principle (or question) below."""
    at = head.find("\n\nHuman:")
    turns = head[at:] if at >= 0 else head
    # The principle follows the last turn after three line feeds, which no turn of the files has.
    return " ".join(turns.rsplit("\n\n\n", 1)[0].split())


def swap_options(row: ChoiceRow) -> ChoiceRow:
    """The same question with (A) and (B) exchanged, and the other letter right.

    Raises ValueError where the prompt does not hold two options in the official form.
    """
    found = _two_options(row.prompt)
    if found is None or len(row.choices) != 2:
        raise ValueError("the prompt does not end in ' (A) ...', ' (B) ...' and a last line")
    prompt = f"{found.head}\n (A) {found.b}\n (B) {found.a}{found.tail}"
    return ChoiceRow(
        number=row.number,
        prompt=prompt,
        choices=row.choices,
        correct=1 - row.correct,
        conversation=row.conversation,
        options=row.options[::-1],
    )


# --- few-shot examples of the chain of thought ----------------------------------------------


def read_cot_examples(path: str | Path) -> list[str]:
    """The official chain-of-thought examples: a JSON list of ``{"prompt": text}``."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON: {error}", path=path) from error
    rows = data if isinstance(data, list) else []
    texts = [item.get("prompt") if isinstance(item, dict) else item for item in rows]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError('expected a list of {"prompt": text}', path=path)
    return [str(text) for text in texts]


def contaminated(rows: Sequence[ChoiceRow], examples: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the rows whose conversation is, or goes on from, that of an example.

    One that goes on tells which response was chosen, so it has been shown as well.
    """
    shown = tuple(f"{_example_conversation(example)} " for example in examples)
    return tuple(row.number for row in rows if f"{row.conversation} ".startswith(shown))


def _example_conversation(example: str) -> str:
    start = example.find("\n\nH:")
    end = example.find("\n\n{}", start)
    turns = example[start : end if end >= 0 else None]
    turns = turns.replace("\n\nH:", "\n\nHuman:").replace("\n\nA:", "\n\nAssistant:")
    return " ".join(turns.split())


def cot_question(row: ChoiceRow) -> str:
    """The question in the chain-of-thought form, up to where the assistant begins to think.

    Roles in the conversation become H and A, so that Human and Assistant stay the chat's own.
    """
    found = _two_options(row.prompt)
    if found is None or not row.prompt.startswith(_HEADER) or "\n\n\n" not in found.head:
        raise ValueError("a chain of thought needs a question of the 438 file's form")
    turns, _, principle = found.head.removeprefix(_HEADER).rpartition("\n\n\n")
    turns = _MARK.sub(lambda mark: f"\n\n{mark[1][0]}:", turns)
    return f"{_COT_HEADER}{turns}\n\n{principle}\n (A) {found.a}\n (B) {found.b}"


def example_text(example: str, row: ChoiceRow) -> str:
    """An example with the row's principle in its slot; the file is uneven in leading line feeds."""
    found = _two_options(row.prompt)
    principle = "" if found is None else found.head.rsplit("\n\n", 1)[-1]
    return "\n\n" + example.lstrip("\n").replace("{}", principle, 1)

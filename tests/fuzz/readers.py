"""Targets: the readers of files, and what is done with what they read."""

from __future__ import annotations

import atexit
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.fuzz import examples
from tests.fuzz.damage import damaged, text
from tests.fuzz.trying import Target
from tests.fuzz.written import ENDS, as_json, as_rows, as_yaml

from constitutional.constitution import load_constitution, read_few_shots, save_constitution
from constitutional.constitution.formats import FORMATS
from constitutional.constitution.principle import Constitution, Principle
from constitutional.dialogue.forms import Form, of_columns
from constitutional.dialogue.presets import PRESETS
from constitutional.dialogue.prompt_rows import KNOWN_KEYS
from constitutional.dialogue.prompts import PromptRecord, load_prompts
from constitutional.evaluation.choices import (
    contaminated,
    read_choice_rows,
    read_cot_examples,
    swap_options,
)
from constitutional.evaluation.harm_score import answered, read_rated
from constitutional.evaluation.monitors import monitor_answers
from constitutional.evaluation.texts import read_texts
from constitutional.evaluation.votes import Vote, elo_of_votes, read_votes
from constitutional.preference.data import read_comparisons, write_trl
from constitutional.preference.ranked import binarised, ranked_pairs, read_ranked
from constitutional.recipe import Recipe, check_extras, load_recipe
from constitutional.runs.lines import encode_checked
from constitutional.runs.records import Comparison, TrainingExample
from constitutional.supervised.demonstrations import read_demonstrations

ROWS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".jsonl.gz", ".JSONL", ".ndjson")


class File(NamedTuple):
    """A file to be read; ``how`` chooses among the ways in which the reader is called."""

    data: bytes
    suffix: str
    how: int = 0

    def written(self) -> Path:
        """The file on the disk, the same one each time, with the marks of earlier cases gone."""
        path = _folder() / f"case{self.suffix}"
        path.write_bytes(self.data)
        return path


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def file_of(suffixes: Sequence[str]) -> Callable[[bytes], File]:
    """A file from bytes, the first two of which choose its name and the way it is read."""

    def of_bytes(data: bytes) -> File:
        suffix, how = (*data[:2], 0, 0)[:2]
        return File(data[2:], suffixes[suffix % len(suffixes)], how)

    return of_bytes


def _row_file(rng: Random, rows: Sequence[Any], keys: Sequence[str]) -> File:
    suffix = rng.choice(ROWS)
    found = [damaged(rng, rows, keys) for _ in range(rng.randrange(1, 4))]
    data = as_rows(found, suffix, plain=rng.random() < 0.7, end=rng.choice(ENDS))
    mark = b"\xef\xbb\xbf" if rng.random() < 0.1 else b""
    return File(mark + data, suffix, rng.randrange(256))


def _row_target(
    name: str, rows: Sequence[Any], keys: Sequence[str], read: Callable[[File], None], share: int
) -> Target:
    def seeds() -> list[bytes]:
        whole = [bytes([i, 0]) + as_rows(rows, suffix) for i, suffix in enumerate(ROWS)]
        return [*whole, *(bytes([0, n]) + as_rows([row], ".jsonl") for n, row in enumerate(rows))]

    def make(rng: Random) -> File:
        return _row_file(rng, rows, keys)

    return Target(name, make, read, file_of(ROWS), seeds, share)


# Constitutions and recipes

_CONSTITUTION_KEYS = (*Constitution.model_fields, *Principle.model_fields, "human", "cot")


def read_a_constitution(file: File) -> None:
    """Read, write in every format, and read what was written."""
    path = file.written()
    if file.how % 4 == 0:
        read_few_shots(path)
        return
    constitution = load_constitution(path)
    again = path.with_name("again")
    save_constitution(constitution, again)
    assert load_constitution(again) == constitution, "it does not come back as it was written"
    assert len(constitution.fingerprint) == 64
    format = ("text", *FORMATS)[file.how % (len(FORMATS) + 1)]
    save_constitution(constitution, again, format)
    if "few-shots" not in format:
        load_constitution(again)


def _a_constitution(rng: Random) -> File:
    kind = rng.randrange(5)
    if kind == 0:
        return File(text(rng).encode("utf-8", "surrogatepass"), "", rng.randrange(256))
    whole = [examples.CONSTITUTION] if kind < 3 else examples.FOREIGN
    data = damaged(rng, whole, _CONSTITUTION_KEYS)
    body = as_yaml(data) if kind == 1 else as_json(data, plain=rng.random() < 0.7)
    return File(body, "", rng.randrange(256))


def read_a_recipe(file: File) -> None:
    """Read it, and everything that is done with a recipe alone."""
    recipe = load_recipe(file.written())
    check_extras(recipe)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def _a_recipe(rng: Random) -> File:
    data = damaged(rng, _recipes(), _recipe_keys())
    return File(as_yaml(data) if rng.random() < 0.5 else as_json(data), ".yaml")


@cache
def _recipes() -> list[dict[str, Any]]:
    return examples.recipes()


@cache
def _recipe_keys() -> list[str]:
    found: dict[str, None] = {}

    def gather(data: Any) -> None:
        for key, value in data.items() if isinstance(data, dict) else ():
            found[key] = None
            gather(value)

    for recipe in _recipes():
        gather(recipe)
    return [*found, *Recipe.model_fields]


# Rows

_FORMS: list[Form | None] = [
    None,
    of_columns({"prompt": "goal"}),
    of_columns({"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "id": "id"}),
]


def _form(how: int, kind: str) -> Form | None:
    known: list[Form | None] = [*_FORMS]
    for preset in PRESETS.values():
        for of in (preset.prompts, preset.pairs):
            known += [Form(preset.name, of[use]) for use in of]  # type: ignore[index]
        if preset.demonstrations:
            known.append(preset.demonstrated())
    return known[how % len(known)] if how % 2 else None


def read_prompts(file: File) -> None:
    """Read prompts, and store each as a run does."""
    path = file.written()
    kind: Any = "red_team" if file.how % 3 else "helpful"
    aside = path.with_name("aside.jsonl") if file.how % 5 else None
    column = "prompt" if file.how % 7 == 0 else None
    form = None if column else _form(file.how, kind)
    found = load_prompts(path, kind=kind, skip_bad_to=aside, column=column, form=form)
    for record in found:
        encode_checked(record, PromptRecord)
    assert found.read >= found.bad
    if aside is not None:
        kept = [json.loads(line) for line in aside.read_text().splitlines()]
        assert len(kept) == found.bad


def read_demonstration_file(file: File) -> None:
    """Read demonstrations, and store each as a training example."""
    found = read_demonstrations(file.written(), form=_form(file.how, "helpful"))
    for number, conversation in enumerate(found.conversations):
        example = TrainingExample(id=str(number), source="helpful", conversation=conversation)
        encode_checked(example, TrainingExample)


def read_comparison_file(file: File) -> None:
    """Read pairs, store each, write them in TRL's form, and read that."""
    path = file.written()
    form = _form(file.how, "pairs")
    found = read_comparisons(path, goal="harmlessness", seed=file.how, form=form)
    _store_and_return(found.comparisons, path)


def _store_and_return(comparisons: Sequence[Comparison], path: Path) -> None:
    for comparison in comparisons:
        encode_checked(comparison, Comparison)
    out = path.with_name("trl.jsonl")
    if write_trl(comparisons, out) < len(comparisons):
        again = read_comparisons(out, goal="harmlessness", seed=0)
        pairs = zip(comparisons, again.comparisons, strict=True)
        assert all({one.a, one.b} == {other.a, other.b} for one, other in pairs)


def read_ranked_file(file: File) -> None:
    """Read ranked answers, and make pairs of them."""
    pairs = ranked_pairs(read_ranked(file.written()), seed=file.how)
    for comparison in binarised(pairs):
        encode_checked(comparison, Comparison)


def read_rated_file(file: File) -> None:
    """Read rated conversations, and store each."""
    for rated in read_rated(file.written()).rated:
        encode_checked(rated, type(rated))


def read_vote_file(file: File) -> None:
    """Read votes, now and then make ratings of them, and write them again."""
    votes = read_votes([file.written()])
    for vote in votes:
        encode_checked(vote, Vote)
    if file.how % 8 == 0:
        elo_of_votes(votes, seed=file.how)


def read_answer_file(file: File) -> None:
    """Read answers, monitor them, and look for their conversations."""
    path = file.written()
    found = read_texts(path)
    for answer in found:
        encode_checked(answer, type(answer))
    if file.how % 4 == 0:
        monitor_answers(found).model_dump_json()
    for answer in found:
        answered(answer, path)


def read_choices(file: File) -> None:
    """Read an official evaluation or the examples for one, and exchange the options."""
    path = file.written()
    if file.how % 4 == 0:
        read_cot_examples(path)
        return
    rows = read_choice_rows(path)
    contaminated(rows, [examples.COT_EXAMPLE])
    for row in rows:
        if len(row.options) == 2:
            assert swap_options(row).correct == 1 - row.correct


_SETS: tuple[tuple[str, Sequence[Any], Sequence[str], Callable[[File], None], int], ...] = (
    (
        "prompts",
        [*examples.PROMPTS, *examples.PRESET_ROWS.values()],
        (*KNOWN_KEYS, "id", "tags", "kind", "role", "content"),
        read_prompts,
        20,
    ),
    (
        "demonstrations",
        [*examples.DEMONSTRATIONS, examples.PRESET_ROWS["dolly"], examples.PRESET_ROWS["alpaca"]],
        (*KNOWN_KEYS, "completion"),
        read_demonstration_file,
        10,
    ),
    (
        "comparisons",
        [*examples.COMPARISONS, *examples.PRESET_ROWS.values()],
        ("prompt", "chosen", "rejected", "p_chosen", "goal", "labeller", "tags", "id"),
        read_comparison_file,
        20,
    ),
    ("ranked", examples.RANKED, ("answers", "score", "upvotes", "accepted"), read_ranked_file, 10),
    ("rated", examples.RATED, ("transcript", "conversation", "rating"), read_rated_file, 10),
    ("votes", examples.VOTES, tuple(Vote.model_fields), read_vote_file, 10),
    ("answers", examples.ANSWERS, ("response", "answer", "sample"), read_answer_file, 10),
    ("choices", examples.CHOICES, ("prompt", "corrects", "incorrects"), read_choices, 10),
)


def reader_targets() -> list[Target]:
    """All of them."""
    constitution = Target(
        "constitution",
        _a_constitution,
        read_a_constitution,
        file_of(("",)),
        lambda: [bytes([0, n % 12]) + f for n, f in enumerate(examples.constitution_files() * 2)],
        share=20,
    )
    recipe = Target(
        "recipe",
        _a_recipe,
        read_a_recipe,
        file_of((".yaml",)),
        lambda: [b"\0\0" + as_yaml(data) for data in _recipes()],
        share=10,
    )
    rows = [_row_target(*row) for row in _SETS]
    return [constitution, recipe, *rows]

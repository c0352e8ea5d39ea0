"""Prompt sets: conversations that await the assistant, read from any of the usual files.

``load_prompts`` refuses what it cannot read rather than pass over it; malformed lines are set aside
only where the caller names a file for them. Nothing is dropped without being counted.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.forms import Form, LeftOut
from constitutional.dialogue.prompt_files import FORMS, Row, read_rows
from constitutional.dialogue.prompt_rows import MalformedRow, RowPrompts, prompts_in
from constitutional.dialogue.transcript import render
from constitutional.errors import PromptFileError
from constitutional.spool import Seen, Spooled

PromptKind = Literal["red_team", "helpful"]


class PromptRecord(BaseModel):
    """One prompt. ``source`` is the file's name without folders; ``conversation`` ends in a human
    turn; ``id`` is the file's own or :func:`prompt_id`.
    """

    # "keys": texts hardly ever occur again, and 16,384 of them would be held in a cache
    model_config = ConfigDict(frozen=True, extra="forbid", cache_strings="keys")

    id: str
    conversation: Conversation
    kind: PromptKind
    source: str
    tags: tuple[str, ...] = ()

    @field_validator("conversation")
    @classmethod
    def _ends_in_a_human_turn(cls, conversation: Conversation) -> Conversation:
        turns = conversation.turns
        if not turns or turns[-1].role != "human" or not turns[-1].text.strip():
            raise ValueError("a prompt ends in a human turn with a text")
        return conversation


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one file, each once, in the file's order, and what was left out.

    ``read``: rows read. ``bad``: malformed rows set aside. ``duplicates``: prompts dropped because
    an earlier row holds the same conversation. ``empty_turns``: human turns of a dialogue that
    hold no text and so are no prompts. ``left_out``: rows that the form of a data set leaves out,
    by reason. The records lie on the disk and are made anew when asked for.
    """

    records: Sequence[PromptRecord]
    read: int
    bad: int
    duplicates: int
    empty_turns: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[PromptRecord]:
        return iter(self.records)


def prompt_id(conversation: Conversation) -> str:
    """The id of a prompt that brings none: 16 hex digits of the SHA-256 of its transcript."""
    return _digest(conversation)[:16]


def load_prompts(
    spec: str | Path,
    *,
    kind: PromptKind,
    limit: int | None = None,
    skip_bad_to: str | Path | None = None,
    column: str | None = None,
    form: Form | None = None,
) -> PromptSet:
    """Read a prompt set from a file, a folder, or a Hugging Face data set (``name[:split]``).

    The forms of a file are those of :data:`~constitutional.dialogue.prompt_files.FORMS`, those of a
    row stand in :mod:`constitutional.dialogue.prompt_rows`. ``column`` names the key or column that
    holds the prompt; ``form`` translates the rows of another data set
    (:mod:`constitutional.dialogue.presets`), and what it leaves out is counted. Reading ends after
    ``limit`` prompts. A malformed line raises PromptFileError, unless ``skip_bad_to`` is given:
    then it is counted, and set aside in that file as a JSON line with ``file``, ``line`` or
    ``place``, ``reason`` and the ``text`` as it stood.

    Raises PromptFileError also when there is no prompt at all, MissingExtraError when the form
    needs an optional package.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, found {limit}")
    if skip_bad_to is not None and Path(skip_bad_to).resolve() == Path(spec).resolve():
        raise PromptFileError(
            "malformed lines cannot be set aside in the prompt file itself", path=spec
        )
    with closing(_BadRows(Path(spec), skip_bad_to)) as bad:
        gathered = _Gathered(Path(spec), kind)
        for row in read_rows(spec, None if form is None else form.part):
            gathered.read += 1
            try:
                gathered.add(_prompts_of(row, column, form), limit)
            except LeftOut as row_left_out:
                gathered.left_out[row_left_out.reason] += 1
            except MalformedRow as error:
                bad.set_aside(row, str(error))
            if limit is not None and len(gathered.records) >= limit:
                break
        if not len(gathered.records):
            raise PromptFileError(_nothing_found(gathered, bad.count), path=spec)
    return PromptSet(
        records=gathered.records,
        read=gathered.read,
        bad=bad.count,
        duplicates=gathered.duplicates,
        empty_turns=gathered.empty_turns,
        left_out=gathered.left_out,
    )


def splits_overlap(a: Iterable[PromptRecord], b: Iterable[Conversation]) -> tuple[str, ...]:
    """The ids, as in ``a`` and in its order, of the prompts that are among ``b`` too.

    Prompts are the same when their conversations are, whatever ids their files gave them; capitals,
    the width of blanks and the ways in which Unicode writes one character make no difference.
    """
    there = Seen(_in_words(conversation) for conversation in b)
    return tuple(record.id for record in a if _in_words(record.conversation) in there)


def _in_words(conversation: Conversation) -> str:
    text = unicodedata.normalize("NFKC", render(conversation)).casefold()
    return " ".join(text.split())


class _Gathered:
    """The prompts found so far."""

    def __init__(self, path: Path, kind: PromptKind):
        self.kind: PromptKind = kind
        self.source = path.name
        self.records: Spooled[PromptRecord] = Spooled()
        self.read = self.duplicates = self.empty_turns = 0
        self.left_out: Counter[str] = Counter()
        self._conversations, self._ids = Seen(), Seen()

    def add(self, prompts: RowPrompts, limit: int | None) -> None:
        """Take the prompts of one row, all or (where it is malformed) none of them."""
        if prompts.kind not in (None, self.kind):
            raise MalformedRow(
                f"the record is of kind {prompts.kind!r}, but {self.kind!r} prompts are asked for"
            )
        new: dict[str, PromptRecord] = {}
        for number, conversation in enumerate(prompts.conversations, start=1):
            digest = _digest(conversation)
            if digest not in self._conversations:
                new[digest] = self._record(prompts, number, conversation)
        room = len(new) if limit is None else limit - len(self.records)
        self.duplicates += len(prompts.conversations) - len(new)
        self.empty_turns += prompts.empty_turns
        for digest, record in list(new.items())[:room]:
            self._conversations.add(digest)
            self._ids.add(record.id)
            self.records.append(record)

    def _record(self, prompts: RowPrompts, number: int, conversation: Conversation) -> PromptRecord:
        several = len(prompts.conversations) > 1
        given = f"{prompts.id}-{number}" if prompts.id and several else prompts.id
        name = given or prompt_id(conversation)
        if name in self._ids:
            raise MalformedRow(f"the id {name!r} is that of another prompt above: give it its own")
        return PromptRecord(
            id=name,
            conversation=conversation,
            kind=self.kind,
            source=prompts.source or self.source,
            tags=prompts.tags,
        )


class _BadRows:
    """Refuses a malformed row, or sets it aside in a file; the file is empty when there is none."""

    def __init__(self, path: Path, skip_to: str | Path | None):
        self.count = 0
        self._path = path
        self._file: IO[str] | None = None
        if skip_to is not None:
            try:
                Path(skip_to).parent.mkdir(parents=True, exist_ok=True)
                self._file = Path(skip_to).open("w", encoding="utf-8")  # noqa: SIM115 (see close)
            except OSError as error:
                why = f"malformed lines cannot be set aside here: {error.strerror or error}"
                raise PromptFileError(why, path=skip_to) from error

    def set_aside(self, row: Row, reason: str) -> None:
        if self._file is None:
            place = f"{row.label}: " if row.label else ""
            raise PromptFileError(place + reason, path=self._path, line=row.line)
        place_key = {"place": row.label} if row.label else {"line": row.line}
        entry = {"file": self._path.name, **place_key, "reason": reason, "text": row.raw}
        # ASCII escapes, so that bytes that were no UTF-8 are kept too
        self._file.write(json.dumps(entry, ensure_ascii=True) + "\n")
        self.count += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _prompts_of(row: Row, column: str | None, form: Form | None) -> RowPrompts:
    if row.problem is not None:
        raise MalformedRow(row.problem)
    return prompts_in(row.value if form is None else form(row.value), column)


def _nothing_found(gathered: _Gathered, bad: int) -> str:
    if gathered.left_out:
        reasons = ", ".join(f"{n} ({reason})" for reason, n in sorted(gathered.left_out.items()))
        return f"no prompt for this use among {gathered.read} rows: left out {reasons}"
    if bad:
        return f"all {bad} rows are malformed: expected {FORMS}"
    return f"no prompt found in {gathered.read} rows: expected at least one"


def _digest(conversation: Conversation) -> str:
    return hashlib.sha256(render(conversation).encode("utf-8")).hexdigest()

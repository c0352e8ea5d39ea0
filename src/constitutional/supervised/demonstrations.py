"""Demonstrations: conversations whose last turn shows how to answer (Ouyang et al. 2022, step 1).

RL from human feedback without a constitution begins with finetuning on them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from constitutional.dialogue import Conversation
from constitutional.dialogue.forms import Form, LeftOut
from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.prompt_rows import DEMONSTRATION, MalformedRow, demonstration_in
from constitutional.errors import PromptFileError
from constitutional.spool import Spooled


@dataclass
class DemonstrationSet:
    """Demonstrations of a file, in order, and how many of its rows were left out, by reason."""

    conversations: Spooled[Conversation] = field(default_factory=Spooled)
    left_out: Counter[str] = field(default_factory=Counter)


def read_demonstrations(spec: str | Path, *, form: Form | None = None) -> DemonstrationSet:
    """All demonstrations of a file; ``form`` translates the rows of another data set.

    Raises PromptFileError with file and line for a row that ends in no answer, and for none at all.
    """
    found = DemonstrationSet()
    for row in read_rows(spec, None if form is None else form.part):
        try:
            if row.problem is not None:
                raise MalformedRow(row.problem)
            value = row.value if form is None else form(row.value)
            found.conversations.append(demonstration_in(value))
        except LeftOut as row_left_out:
            found.left_out[row_left_out.reason] += 1
        except MalformedRow as error:
            raise PromptFileError(str(error), path=spec, line=row.line) from None
    if not len(found.conversations):
        raise PromptFileError(f"no demonstration found: expected {DEMONSTRATION}", path=spec)
    return found

"""Demonstrations: conversations whose last turn shows how to answer (Ouyang et al. 2022, step 1).

RL from human feedback without a constitution begins with finetuning on them.
"""

from __future__ import annotations

from pathlib import Path

from constitutional.dialogue import Conversation
from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.prompt_rows import DEMONSTRATION, MalformedRow, demonstration_in
from constitutional.errors import PromptFileError


def read_demonstrations(spec: str | Path) -> tuple[Conversation, ...]:
    """All demonstrations of a file, in order.

    Raises PromptFileError with file and line for a row that ends in no answer, and for none at all.
    """
    found = []
    for row in read_rows(spec):
        try:
            if row.problem is not None:
                raise MalformedRow(row.problem)
            found.append(demonstration_in(row.value))
        except MalformedRow as error:
            raise PromptFileError(str(error), path=spec, line=row.line) from None
    if not found:
        raise PromptFileError(f"no demonstration found: expected {DEMONSTRATION}", path=spec)
    return tuple(found)

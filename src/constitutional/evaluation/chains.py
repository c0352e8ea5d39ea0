"""The official chains of critique and revision, and what their texts show on the surface.

``samples/*_SLMADISON.jsonl`` holds a row for each prompt: ``rl_prompt``, ``initial_response`` (one
``sample``) and ``cst``: the rounds, each with the ``sample`` of a ``critique`` and a ``revision``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.shape import flags
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate
from constitutional.evaluation.monitors import Hits, clustered_share
from constitutional.evaluation.phrases import ngrams
from constitutional.evaluation.texts import AnswerText

#: A critique that wants something otherwise says one of these; its wording, not its sense.
_WANTS = re.compile(
    r"\b(?:should|could(?: also)? have"
    r"|could be (?:more|better|interpreted|considered|seen|slightly)"
    r"|fail(?:s|ed)|did(?: not|n't)|does(?: not|n't)|would have been better|better response"
    r"|problematic|room for improvement|not enough|lacks?|missing)\b"
)


@dataclass(frozen=True)
class OfficialChain:
    """The versions of an answer (the first response, then a revision a round) and the critiques."""

    prompt: str
    versions: tuple[str, ...]
    critiques: tuple[str, ...]


def is_chain_file(path: str | Path) -> bool:
    """Whether the first row of a file has the key ``cst``."""
    row = next(iter(read_rows(path)), None)
    return row is not None and isinstance(row.value, Mapping) and "cst" in row.value


def read_chains(path: str | Path) -> list[OfficialChain]:
    """The chains of a file. Raises InputError with the line of a row that is none."""
    chains = []
    for row in read_rows(path):
        try:
            if row.problem is not None:
                raise ValueError(row.problem)
            chains.append(_chain(row.value))
        except ValueError as error:
            raise InputError(str(error), path=path, line=row.line) from error
    if not chains:
        raise InputError("holds no chains", path=path)
    return chains


def _chain(row: Any) -> OfficialChain:
    if not isinstance(row, Mapping) or not isinstance(row.get("rl_prompt"), str):
        raise ValueError("a chain needs a text 'rl_prompt'")
    first, rounds = row.get("initial_response"), row.get("cst")
    if not isinstance(first, list) or len(first) != 1 or not isinstance(rounds, list):
        raise ValueError("a chain needs a list 'initial_response' of one sample, and a list 'cst'")
    critiques, versions = [], [_sample(first[0], "initial_response")]
    for each in rounds:
        parts = each if isinstance(each, Mapping) else {}
        critiques.append(_sample(parts.get("critique"), "critique"))
        versions.append(_sample(parts.get("revision"), "revision"))
    return OfficialChain(row["rl_prompt"], tuple(versions), tuple(critiques))


def _sample(value: Any, key: str) -> str:
    text = value.get("sample") if isinstance(value, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f"each {key!r} of a chain needs a text 'sample'")
    return text.strip()


def versions_at(chains: Sequence[OfficialChain], number: int) -> list[AnswerText]:
    """The answers after ``number`` rounds, of the chains that have so many."""
    return [
        AnswerText(prompt=chain.prompt, text=chain.versions[number])
        for chain in chains
        if number < len(chain.versions)
    ]


def critiques_at(chains: Sequence[OfficialChain], number: int) -> list[AnswerText]:
    """The critiques of round ``number``, counted from 1."""
    return [
        AnswerText(prompt=chain.prompt, text=chain.critiques[number - 1])
        for chain in chains
        if number <= len(chain.critiques)
    ]


def unchanged(chains: Sequence[OfficialChain], number: int) -> Estimate | None:
    """Share of revisions of a round that equal the version before but for blanks."""
    return _share_of_chains(
        chains, number, lambda c: c.versions[number].split() == c.versions[number - 1].split()
    )


def quoting(chains: Sequence[OfficialChain], number: int) -> Estimate | None:
    """Share of critiques of a round that repeat four words in a row of the answer they are on."""
    return _share_of_chains(
        chains,
        number,
        lambda c: not ngrams(c.critiques[number - 1]).isdisjoint(ngrams(c.versions[number - 1])),
    )


def finds_fault(critique: str) -> bool:
    """Whether a critique wants something otherwise, by words such as "should" and "failed"."""
    return bool(_WANTS.search(critique.lower().replace("’", "'")))


def shape_shares(texts: Sequence[AnswerText]) -> dict[str, Estimate]:
    """Shares of texts with a role marker or control token, with a loop, and with no letter at all.

    The rules are those of :func:`constitutional.dialogue.shape.flags`; intervals are clustered by
    prompt.
    """
    found = [(text.prompt, set(flags(text.text, "stop"))) for text in texts]
    names = {"leaked marker": "role_marker", "looped": "looped", "empty": "empty"}
    return {
        name: share_of([(prompt, flag in has) for prompt, has in found])
        for name, flag in names.items()
    }


def share_of(hits: Sequence[tuple[str, bool]]) -> Estimate:
    """A share of texts, of (prompt, whether it has the property), clustered by prompt."""
    groups: dict[str, list[bool]] = {}
    for prompt, hit in hits:
        groups.setdefault(prompt, []).append(hit)
    return clustered_share([Hits(sum(each), len(each)) for each in groups.values()])


def _share_of_chains(
    chains: Sequence[OfficialChain], number: int, has_it: Callable[[OfficialChain], bool]
) -> Estimate | None:
    there = [chain for chain in chains if 1 <= number < len(chain.versions)]
    return share_of([(chain.prompt, has_it(chain)) for chain in there]) if there else None

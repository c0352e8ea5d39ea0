"""Ten example chains, chosen by a rule and not by hand; and the constitution that they go by."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from hashlib import sha256

from constitutional.constitution import Principle
from constitutional.reading.differences import differences
from constitutional.reading.run import Run
from constitutional.report.blocks import ChainCard, Fold, Pairs, Paragraph, Section, Step, Table
from constitutional.report.names import plain
from constitutional.report.numbers import counted
from constitutional.report.one.view import View
from constitutional.runs.records import Chain

EXAMPLES = 10
RULE = (
    "The {count} chains of {all} whose ids have the smallest SHA-256: nobody chose them, their "
    "texts play no part, and the same prompts always give the same ones."
)


def example_chains(view: View) -> Section | None:
    """The chains, folded behind a warning."""
    chains = view.run.chains
    if not chains:
        return None
    cards = [card(chain, view.principles) for chain in chosen_chains(view.run, EXAMPLES)]
    rule = RULE.format(count=len(cards), all=f"{len(chains):,}")
    warning = (
        "Red-team prompts ask for harm, and a helpful-only model complies: the texts below may "
        "offend or hurt."
    )
    fold = Fold(f"Show {counted(len(cards), 'chain')} with red-team text", cards, warns=True)
    return Section(
        "chains", "Example chains", [Paragraph(rule), Paragraph(warning, "warning"), fold]
    )


def chosen_chains(run: Run, number: int) -> list[Chain]:
    """So many chains by the rule."""
    return heapq.nsmallest(number, run.chains, key=lambda c: _digest(c.id))


def _digest(name: str) -> bytes:
    return sha256(name.encode("utf-8", "surrogatepass")).digest()


def constitution(view: View) -> Section | None:
    """The principles with their sources, and how often each was drawn to criticise by."""
    found, files = view.constitution, view.run.recipe.get("constitution")
    if not files:
        return None
    fingerprint = view.run.manifest.inputs.get("constitution") or "–"
    known = found.fingerprint if found else fingerprint
    pairs = [("source", ", ".join(files)), ("fingerprint (SHA-256)", known)]
    if found is None:
        text = (
            "The run did not keep its constitution, and the files it came from are gone or have "
            "changed since."
        )
        return Section("constitution", "Constitution", [Pairs(pairs), Paragraph(text, "warning")])
    pairs.insert(0, ("name", found.name))
    if found.description:
        pairs.insert(1, ("description", found.description))
    drawn = _drawn(view)
    rows = [
        [
            principle.id,
            principle.text,
            principle.source or "–",
            f"{principle.weight:g}",
            f"{drawn.get(principle.id, 0):,}",
        ]
        for principle in found.principles
    ]
    head = ("principle", "text", "source", "weight", "critiques")
    blocks = [Pairs(pairs), Fold(f"All {len(rows)} principles", [Table(head, rows)])]
    return Section("constitution", "Constitution", blocks)


def _drawn(view: View) -> dict[str, int]:
    counts: dict[str, int] = {}
    for chain in view.run.chains:
        for round_ in chain.rounds:
            counts[round_.principle] = counts.get(round_.principle, 0) + 1
    return counts


def card(chain: Chain, principles: Mapping[str, Principle]) -> ChainCard:
    """A chain as a page shows it, with what each round changed."""
    return ChainCard(
        id=chain.id,
        tags=chain.tags,
        prompt=[(turn.role, turn.text) for turn in chain.prompt.turns],
        response=chain.response.text,
        steps=list(_steps(chain, principles)),
    )


def _steps(chain: Chain, principles: Mapping[str, Principle]) -> Iterator[Step]:
    """Each round against the version that it revised: a broken one is not built upon."""
    before = chain.response
    for round_ in chain.rounds:
        known, revision = principles.get(round_.principle), round_.revision
        same = before.text == revision.text
        yield Step(
            principle=round_.principle,
            principle_text="" if known is None else known.text,
            critique=None if round_.critique is None else round_.critique.text,
            revision=revision.text,
            changes=() if same else differences(before.text, revision.text),
            flags=[plain(str(flag)).replace("_", " ") for flag in revision.flags],
        )
        before = revision if revision.usable else before

"""Each principle by itself: where it comes from, what it has said so far, and what it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from constitutional.constitution import Principle
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate
from constitutional.feedback.accounting import account
from constitutional.instrument.attribution import Attribution, PrinciplePush
from constitutional.reading.attributing import attribution_of
from constitutional.reading.so_far import labels_of
from constitutional.report.blocks import Cell, Fold, Number, Pairs, Paragraph, Section, Table
from constitutional.report.names import shown
from constitutional.report.numbers import NONE, counted, percent, shift
from constitutional.report.one.chains import card
from constitutional.report.one.view import View
from constitutional.runs.records import Chain

_HOW = (
    "Push: points of the behaviour that what a policy learns from would lack without the principle,"
    " as the chains and pairs show that it had no part in. Percent, 95% intervals, clustered by "
    "prompt. Bold: the interval does not hold 0."
)


class _Effects(NamedTuple):
    """What the records say of all principles; ``unknown`` says why, where one cannot be told."""

    attributions: list[Attribution]
    unknown: list[str]
    #: By arm and principle, how often the place decided.
    position: Mapping[str, Mapping[str, Any]]
    examples: Mapping[str, Chain]


def principles(view: View) -> Section | None:
    """A table of all, and a fold for each."""
    effects = _effects(view)
    pushed = (one.principle for found in effects.attributions for one in found.principles)
    names = dict.fromkeys([*view.principles, *pushed])
    if not names:
        return None
    blocks: list[Any] = [Paragraph(said, "warning") for said in effects.unknown]
    if effects.attributions:
        blocks.append(_table(effects.attributions, list(names)))
    blocks += (Fold(name, list(_one(view, effects, name))) for name in names)
    return Section("principles", "Principles, one by one", blocks)


def _effects(view: View) -> _Effects:
    found, unknown = [], []
    answered = set(view.run.policies)
    learned = [("sl_cai", "helpful"), *((arm, "sl_cai") for arm in view.run.arms)]
    for policy, against in learned:
        has_records = labels_of(view.run, policy) if policy in view.run.arms else view.run.chains
        if not has_records or not {policy, against} <= answered:
            continue
        try:
            found.append(attribution_of(view.run, policy, against))
        except InputError as error:
            unknown.append(f"What pushed {shown(policy)} cannot be told: {error}")
    return _Effects(found, unknown, dict(_position(view)), _examples(view, found))


def _position(view: View) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for arm in view.run.arms:
        records = view.run.comparisons.parts.get(labels_of(view.run, arm) or "", ())
        uses = account(records).principles
        yield arm, {use.principle: use.model_dump()["decided_by_position"] for use in uses}


def _examples(view: View, found: list[Attribution]) -> dict[str, Chain]:
    """For each principle the first chain in the run that it turned."""
    first = {
        one.principle: one.revisions.examples[0]
        for attribution in found
        for one in attribution.principles
        if one.revisions and one.revisions.examples
    }
    wanted = {*first.values()}
    chains = {chain.id: chain for chain in view.run.chains if chain.id in wanted}
    return {name: chains[chain_id] for name, chain_id in first.items()}


def _table(attributions: list[Attribution], names: list[str]) -> Table:
    by_name = [{one.principle: one for one in found.principles} for found in attributions]
    rows: list[list[Cell]] = [
        [name, *(_points(found[name].score if name in found else None) for found in by_name)]
        for name in names
    ]
    head = ["principle", *map(_title, attributions)]
    observed = "; ".join(
        f"{_title(found)}: {_plain(_points(found.observed))} points observed on "
        f"{counted(found.observed.n, 'prompt')}"
        for found in attributions
    )
    return Table(head, rows, f"{_HOW} {observed}.")


def _title(found: Attribution) -> str:
    return f"{shown(found.policy)} {' or '.join(found.behaviour)}"


def _one(view: View, effects: _Effects, name: str) -> Iterator[Any]:
    known = view.principles.get(name)
    if known is None:
        yield Paragraph("Its text is not known: the run's constitution does not hold it.", "note")
    else:
        yield Pairs(list(_texts(known)))
        if known.history:
            said = [[str(v.date), v.text, v.why or "–"] for v in known.history]
            yield Table(("from", "text", "why"), said, "How its text came about.")
    rows = [
        row
        for found in effects.attributions
        for one in found.principles
        if one.principle == name
        for row in _did(one, found, effects.position)
    ]
    if rows:
        yield Table(("what it did", "of", "share or points"), rows)
    if name in effects.examples:
        chain = card(effects.examples[name], view.principles)
        title = "The first chain in which its revision turned the answer, with red-team text"
        yield Fold(title, [chain], warns=True)


def _texts(principle: Principle) -> Iterator[tuple[str, str]]:
    yield "text", principle.text
    yield "source", principle.source or "–"
    if principle.tags:
        yield "tags", ", ".join(principle.tags)
    yield "weight", f"{principle.weight:g}"
    if "critique" in principle.uses:
        yield "critique request", principle.critique
        yield "revision request", principle.revision
    if "comparison" in principle.uses:
        yield "comparison question", principle.comparison


def _did(
    one: PrinciplePush, found: Attribution, position: Mapping[str, Mapping[str, Any]]
) -> Iterator[list[Cell]]:
    behaviour = " or ".join(found.behaviour)
    if (r := one.revisions) is not None:
        made = f"{r.revisions:,} of its revisions"
        yield ["changed the answer", made, _percent(r.changed)]
        yield [
            f"turned it to one that {behaviour}",
            f"{r.could:,} that did not",
            _percent(r.towards),
        ]
        yield ["turned it from that", f"{r.had:,} that did", _percent(r.away)]
        yield [f"push on {_title(found)}, revisions", made, _points(r.push)]
    if (labels := one.labels) is not None:
        pairs = f"{labels.pairs:,} telling pairs"
        yield [f"preferred the answer that {behaviour}", pairs, _percent(labels.preferred)]
        yield ["by so many points above one half", pairs, _points(labels.margin)]
        decided = position.get(found.policy, {}).get(one.principle)
        yield ["decided by position", "its pairs in both orders", percent(decided)]
        yield [f"push on {_title(found)}, labels", pairs, _points(labels.push)]


def _percent(estimate: Estimate | None) -> Number:
    return percent(None if estimate is None else estimate.model_dump())


def _points(estimate: Estimate | None) -> Number:
    return NONE if estimate is None else shift(estimate, 100)


def _plain(number: Number) -> str:
    return f"{number.text} ({number.interval})" if number.interval else number.text

"""What a record is in a data frame. The names of the columns are stable (``docs/report.md``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from constitutional.dialogue.transcript import render
from constitutional.runs.records import Answer, Chain, Comparison, Reading, Reply, Sample

Row = dict[str, Any]


def chain_rows(chain: Chain) -> Iterator[Row]:
    """A row for each version: the response (round 0) and each revision, with what led to it."""
    rounds = (None, *chain.rounds)
    for number, (round_, version) in enumerate(zip(rounds, chain.versions, strict=True)):
        critique = None if round_ is None or round_.critique is None else round_.critique.text
        yield {
            "id": chain.id,
            "prompt": render(chain.prompt).strip(),
            "tags": chain.tags,
            "round": number,
            "principle": None if round_ is None else round_.principle,
            "critique": critique,
            **_sample(version),
        }


def reply_rows(reply: Reply) -> Iterator[Row]:
    """A row for each response to a helpful prompt."""
    for number, response in enumerate(reply.responses):
        yield {
            "id": reply.id,
            "prompt": render(reply.prompt).strip(),
            "tags": reply.tags,
            "response": number,
            **_sample(response),
        }


def comparison_rows(comparison: Comparison) -> Iterator[Row]:
    """One row; ``prob_a_ab`` and ``prob_a_ba`` are means over the readings in each order."""
    yield {
        "id": comparison.id,
        "prompt": render(comparison.prompt).strip(),
        "a": comparison.a,
        "b": comparison.b,
        "tags": comparison.tags,
        "goal": comparison.goal,
        "labeller": comparison.labeller,
        "prob_a": comparison.prob_a,
        "prob_a_ab": _mean(r for r in comparison.readings if r.order == "ab"),
        "prob_a_ba": _mean(r for r in comparison.readings if r.order == "ba"),
        "principles": tuple(dict.fromkeys(r.principle for r in comparison.readings)),
        "unreadable": sum(r.prob_a is None for r in comparison.readings),
    }


def answer_rows(answer: Answer) -> Iterator[Row]:
    """One row, with the judge's verdict where there is one."""
    verdict = answer.verdict
    yield {
        "id": answer.id,
        "policy": answer.policy,
        "prompt": render(answer.prompt).strip(),
        "tags": answer.tags,
        **_sample(answer.sample),
        "harmful_request": None if verdict is None else verdict.harmful_request,
        "behaviour": None if verdict is None else verdict.behaviour.value,
        "harm": None if verdict is None else verdict.harm,
    }


def _sample(sample: Sample) -> Row:
    return {
        "text": sample.text,
        "ended": sample.ended,
        "tokens": sample.tokens,
        "flags": tuple(map(str, sample.flags)),
    }


def _mean(readings: Iterable[Reading]) -> float | None:
    read = [reading.prob_a for reading in readings if reading.prob_a is not None]
    return sum(read) / len(read) if read else None

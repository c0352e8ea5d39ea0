"""What an inference tells, and the constitution that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from constitutional.constitution import Constitution, Principle
from constitutional.evaluation.choices import share_by_conversation
from constitutional.evaluation.intervals import Estimate
from constitutional.instrument.comparisons import cluster_of
from constitutional.instrument.fitting import Floats
from constitutional.runs.records import Comparison


class Tested(BaseModel):
    """A principle that leads its group, alone on the training comparisons.

    ``accuracy`` is over the comparisons on which it takes a side, None where there is none;
    ``merged`` are the ids of candidates that say the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    accuracy: Estimate | None
    silent: Estimate | None
    unreadable: int
    merged: tuple[str, ...] = ()
    weight: float | None = None


class Accuracy(BaseModel):
    """How often the held-out labels' sides are foretold; what takes no side counts as half."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    all: Estimate | None
    #: Where the better answer is the longer one, and where it is the shorter one.
    longer_wins: Estimate | None
    longer_loses: Estimate | None
    #: The principles' accuracy less this one's, where it is a baseline.
    principles_ahead: Estimate | None = None


class Inferred(BaseModel):
    """What came out. ``comparisons`` are counts by part; ``without_side`` those labelled 0.5."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    comparisons: dict[str, int]
    conversations: dict[str, int]
    without_side: dict[str, int]
    candidates: int
    left_out: dict[str, int]
    kept: tuple[Tested, ...]
    tested: tuple[Tested, ...]
    held_out: tuple[Accuracy, ...]
    #: Share of the held-out comparisons with a side on which no kept principle takes one.
    silent: Estimate | None
    tester: str
    generator: str | None = None
    seed: int


class Result(NamedTuple):
    """The report, and the constitution of the kept principles; None where none was kept."""

    report: Inferred
    constitution: Constitution | None


def accuracy_of(
    right: Floats, comparisons: Sequence[Comparison], where: Floats | None = None
) -> Estimate | None:
    """The mean of ``right`` with an interval over conversations; on the rows of ``where`` only."""
    rows = [n for n in range(len(comparisons)) if where is None or where[n]]
    return share_by_conversation(
        [float(right[row]) for row in rows], [cluster_of(comparisons[row]) for row in rows]
    )


def written(report: Inferred, leaders: Constitution) -> Constitution | None:
    """The kept principles with weights, whose mean is 1, and where each comes from."""
    if not report.kept:
        return None
    total = sum(kept.weight or 0.0 for kept in report.kept)
    by_id = {p.id: p for p in leaders.principles}
    n, held_out = report.comparisons["training"], report.held_out[0].all
    principles = []
    for kept in report.kept:
        share = (kept.weight or 0.0) * len(report.kept) / total
        alone = "it takes no side" if kept.accuracy is None else f"accuracy {told(kept.accuracy)}"
        principles.append(
            Principle(
                **(
                    dict(by_id[kept.id])
                    | {"weight": max(round(share, 4), 1e-4), "tags": ("inferred",)}
                    | {"source": f"inferred from {n} comparisons, {alone}"}
                )
            )
        )
    sided = report.comparisons["held-out"] - report.without_side["held-out"]
    return Constitution(
        name="inferred",
        description=(
            f"Inferred from {n} comparisons (training) and {report.comparisons['validation']} "
            f"(validation); on {sided} held-out comparisons: accuracy {told(held_out)}. Weights "
            "are shares of the log-odds in a logistic regression."
        ),
        principles=tuple(principles),
        few_shots=leaders.few_shots,
    )


def told(estimate: Estimate | None) -> str:
    """Such as ``0.953 (0.912-0.978)``."""
    if estimate is None:
        return "unknown"
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"

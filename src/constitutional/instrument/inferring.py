"""From preferences back to principles (Findeis et al. 2024, arXiv 2406.06560).

1. Candidates: of a file, or of a model that is asked why one answer was preferred.
2. Those that say the same are merged (:mod:`.alike`), on a first part of the training comparisons.
3. What each says of all comparisons is asked (:mod:`.testimony`).
4. Those that foretell the validation labels are kept, one after the other (:mod:`.fitting`).
5. The held-out labels, which nothing above has seen, say how good the rest is.

Departures from the paper: candidates are merged by what they say of comparisons in place of
embeddings; a candidate is asked alone and in both orders in place of ten at a time; and those that
are kept are chosen together, with weights, in place of the ones with the most votes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from constitutional.constitution import Constitution, Principle
from constitutional.engines.base import Engine
from constitutional.errors import InputError
from constitutional.evaluation.differences import paired_difference
from constitutional.evaluation.intervals import Estimate
from constitutional.instrument.alike import groups
from constitutional.instrument.baselines import bag_of_words, longer
from constitutional.instrument.comparisons import cluster_of, split
from constitutional.instrument.fitting import Floats, Selection, hits, select
from constitutional.instrument.inferred import (
    Accuracy,
    Inferred,
    Result,
    Tested,
    accuracy_of,
    written,
)
from constitutional.instrument.testimony import Testimony, labels_of, testify
from constitutional.runs import Progress, RunFolder
from constitutional.runs.records import Comparison

#: Shares of the conversations for training, validation and the held-out figures.
PARTS = (0.4, 0.2, 0.4)
SILENT_ONES = "candidates that take no side on the first comparisons"
_PART_NAMES = ("training", "validation", "held-out")


class InferConfig(BaseModel):
    """Settings of the inference."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Principles to keep at most.
    keep: int = Field(default=8, ge=1)
    #: Training comparisons on which all candidates are asked, to find those that say the same.
    probe: int = Field(default=64, ge=10)
    #: Training comparisons for which the generator is asked.
    ask: int = Field(default=50, ge=1)
    #: The penalty of squared weights in the logistic regression.
    penalty: float = Field(default=1.0, gt=0)
    #: By how much a principle must lower the validation log loss, in nats, to be kept.
    gain: float = Field(default=0.01, ge=0)
    #: Comparisons that are asked about at once, and kept together.
    block: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)


class Parts(NamedTuple):
    """The three parts of the comparisons."""

    training: list[Comparison]
    validation: list[Comparison]
    held_out: list[Comparison]


def divide(comparisons: Sequence[Comparison], seed: int) -> Parts:
    """Training, validation and held-out comparisons; no conversation is in two of them.

    Raises InputError where a part would hold fewer than ten labels with a side.
    """
    parts = Parts(*split(comparisons, PARTS, seed))
    for name, part in zip(_PART_NAMES, parts, strict=True):
        sided = sum(comparison.prob_a != 0.5 for comparison in part)
        if sided < 10:
            raise InputError(
                f"{len(comparisons)} comparisons are too few: {sided} of the {name} part "
                f"({len(part)}) prefer an answer, and 10 are needed"
            )
    return parts


def infer(
    run: RunFolder,
    parts: Parts,
    candidates: Constitution,
    tester: Engine,
    config: InferConfig,
    *,
    progress: Progress,
    left_out: Mapping[str, int] | None = None,
    generator: str | None = None,
) -> Result:
    """Which of the ``candidates`` the labels follow. What the tester said is kept in ``run``.

    Raises InputError where the tester takes no side by any candidate.
    """
    heard = _hear(run, parts, candidates, tester, config, progress)
    bounds = np.cumsum([len(part) for part in parts])[:-1]
    on = [heard.said.rows(rows) for rows in np.split(np.arange(sum(map(len, parts))), bounds)]
    chosen = select(
        (on[0].log_odds, labels_of(parts.training)),
        (on[1].log_odds, labels_of(parts.validation)),
        most=config.keep,
        penalty=config.penalty,
        gain=config.gain,
    )
    tested = _tested(heard, on[0], parts.training, candidates.comparing, chosen)
    named = dict(zip(_PART_NAMES, parts, strict=True))
    silent = {SILENT_ONES: heard.silent} if heard.silent else {}
    report = Inferred(
        comparisons={name: len(part) for name, part in named.items()},
        conversations={name: len({*map(cluster_of, part)}) for name, part in named.items()},
        without_side={name: sum(c.prob_a == 0.5 for c in part) for name, part in named.items()},
        candidates=len(candidates.comparing),
        left_out={**(left_out or {}), **silent},
        kept=tuple(tested[column] for column in chosen.columns),
        tested=tuple(sorted(tested, key=lambda t: -(t.accuracy.value if t.accuracy else 0.0))),
        held_out=tuple(_held_out(parts, on[2], chosen, config.seed)),
        silent=_silent(parts.held_out, on[2], chosen),
        tester=tester.name,
        generator=generator,
        seed=config.seed,
    )
    return Result(report, written(report, heard.leaders))


class _Heard(NamedTuple):
    """The candidates that lead a group, the groups, and what the leaders say of all comparisons."""

    leaders: Constitution
    led: list[list[int]]
    said: Testimony
    #: Candidates that took no side anywhere on the first comparisons.
    silent: int


def _hear(
    run: RunFolder,
    parts: Parts,
    candidates: Constitution,
    tester: Engine,
    config: InferConfig,
    progress: Progress,
) -> _Heard:
    """Ask all candidates on the first comparisons, and those that lead a group on the others."""

    def ask(stage: str, who: Constitution, about: Sequence[Comparison]) -> Testimony:
        return testify(
            run, stage, tester, who, about, block=config.block, seed=config.seed, progress=progress
        )

    probe = parts.training[: config.probe]
    first = ask("probe", candidates, probe)
    led = _led(candidates.comparing, first, labels_of(probe))
    if not led:
        raise InputError(
            f"{tester.name} takes no side by any of the {len(candidates.comparing)} candidates on "
            f"{len(probe)} comparisons: use a better tester, or few-shot examples"
        )
    principles = tuple(candidates.comparing[group[0]] for group in led)
    leaders = Constitution(**(dict(candidates) | {"principles": principles}))
    rest = [*parts.training[config.probe :], *parts.validation, *parts.held_out]
    said = joined(first.columns([group[0] for group in led]), ask("test", leaders, rest))
    return _Heard(leaders, led, said, len(candidates.comparing) - sum(map(len, led)))


def joined(first: Testimony, later: Testimony) -> Testimony:
    """The testimony of the same principles on further comparisons, below each other."""
    return Testimony(
        first.principles,
        np.vstack([first.log_odds, later.log_odds]),
        np.vstack([first.asked, later.asked]),
        np.vstack([first.read, later.read]),
    )


def _led(principles: Sequence[Principle], said: Testimony, labels: Floats) -> list[list[int]]:
    """Groups of candidates that say the same, those first that are right most often.

    Candidates that take no side anywhere are in none.
    """
    sided = labels != 0.5
    right = (said.votes * np.sign(labels - 0.5)[:, None])[sided].sum(axis=0)
    speaking = [column for column in range(len(principles)) if said.speaks[:, column].any()]
    order = sorted(speaking, key=lambda column: (-right[column], column))
    return groups([p.comparison for p in principles], said, order)


def _tested(
    heard: _Heard,
    said: Testimony,
    training: Sequence[Comparison],
    candidates: Sequence[Principle],
    chosen: Selection,
) -> list[Tested]:
    """Each leader alone on the training comparisons, of which ``said`` speaks."""
    labels = labels_of(training)
    sided = labels != 0.5
    weights = dict(zip(chosen.columns, chosen.weights.tolist(), strict=True))
    found = []
    for column, principle in enumerate(heard.leaders.principles):
        speaks = said.speaks[:, column]
        right = (said.votes[:, column] == np.sign(labels - 0.5)).astype(float)
        found.append(
            Tested(
                id=principle.id,
                text=principle.text,
                accuracy=accuracy_of(right, training, sided & speaks),
                silent=accuracy_of((~speaks).astype(float), training),
                unreadable=int((said.asked & ~said.read)[:, column].sum()),
                merged=tuple(candidates[other].id for other in heard.led[column][1:]),
                weight=weights.get(column),
            )
        )
    return found


def _held_out(parts: Parts, said: Testimony, chosen: Selection, seed: int) -> list[Accuracy]:
    """The accuracy of the kept principles, of the best alone, and of the baselines."""
    rows = [number for number, c in enumerate(parts.held_out) if c.prob_a != 0.5]
    sided = [parts.held_out[number] for number in rows]
    labels, inputs = labels_of(sided), said.log_odds[rows][:, list(chosen.columns)]
    by_length = longer(sided)
    means = {
        "principles": hits(inputs, labels, chosen.weights),
        "longer answer": by_length,
        "bag of words": bag_of_words(parts.training, sided, seed),
    }
    found = []
    for name, right in means.items():
        baseline = name != "principles"
        found.append(
            Accuracy(
                name=name,
                all=accuracy_of(right, sided),
                longer_wins=accuracy_of(right, sided, by_length == 1),
                longer_loses=accuracy_of(right, sided, by_length == 0),
                principles_ahead=_ahead(right, means["principles"]) if baseline else None,
            )
        )
    return found


def _ahead(baseline: Floats, principles: Floats) -> Estimate | None:
    """By how much the principles are ahead on the same comparisons; no side taken is not right."""
    found = paired_difference(
        {str(row): bool(value == 1) for row, value in enumerate(baseline)},
        {str(row): bool(value == 1) for row, value in enumerate(principles)},
    )
    return None if found is None else found[0]


def _silent(held_out: Sequence[Comparison], said: Testimony, chosen: Selection) -> Estimate | None:
    sided = labels_of(held_out) != 0.5
    quiet = ~said.speaks[:, list(chosen.columns)].any(axis=1)
    return accuracy_of(quiet.astype(float), held_out, sided)

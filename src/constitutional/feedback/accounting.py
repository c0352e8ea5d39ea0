"""What the labels are worth: position, principles, agreement with a reference, calibration.

All is computed from the records alone. Probabilities are those before clamp and hard labels, since
these change a label on purpose; human labels, which have no readings, count as they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from constitutional.errors import InputError
from constitutional.evaluation import calibration
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.evaluation.verdicts import Preference
from constitutional.feedback.verdicts import REFUSED, by_principle, combined, in_order, mean
from constitutional.runs.records import Comparison, Reading


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrincipleUse(_Record):
    """One principle: the comparisons it was used for, and their readings by it.

    ``mean_confidence`` is the mean of max(p, 1 - p) over these comparisons, where p is combined
    from the readings by this principle; None when none could be read.
    """

    principle: str
    uses: int
    readings: int
    unreadable: int
    refusals: int
    mean_confidence: float | None


class Bin(_Record):
    """The comparisons whose confidence is in (low, high] (0.5 itself is in the first)."""

    low: float
    high: float
    mean_confidence: float
    accuracy: Estimate


class Agreement(_Record):
    """Labels against a reference, on the telling pairs: those on which it has a side.

    A label of exactly 0.5 is undecided and counts as not right. ``expected_calibration_error`` is
    the mean over the telling pairs of |accuracy - mean confidence| of their bin, where confidence
    is max(p, 1 - p): folded so, it does not depend on which answer is called a.
    """

    telling: int
    ties: int
    #: Telling pairs without a label, which no other figure here counts.
    unlabelled: int
    undecided: int
    accuracy: Estimate | None
    #: Same letter after the swap, on telling pairs (see Accounting).
    decided_by_position: Estimate | None
    calibration: tuple[Bin, ...]
    expected_calibration_error: float | None


class Accounting(_Record):
    """The account of a run's labels.

    ``decided_by_position`` is the share of the comparisons read in both orders whose letter is
    the same in both, so that the place decided and not the answer; None without ``both`` orders.
    Several principles are averaged within each order first. A probability of exactly 0.5 has no
    letter. Pairs that are alike by the principle have no right letter: where a reference knows
    them, ``agreement`` gives the share on the others.
    """

    comparisons: int
    labelled: int
    #: Comparisons whose every reading was unreadable, and those that were never asked about.
    unreadable: int
    not_asked: int
    readings: int
    unreadable_readings: int
    refusals: int
    causes: dict[str, int]
    #: Readings that are sampled votes, of an engine without log-probs.
    votes: int
    decided_by_position: Estimate | None
    principles: tuple[PrincipleUse, ...]
    agreement: Agreement | None


def account(
    comparisons: Sequence[Comparison],
    reference: Mapping[str, Preference] | None = None,
    *,
    bins: int = 10,
) -> Accounting:
    """The account of the labels; ``reference`` says by id which answer is better, or ``tie``."""
    readings = [reading for c in comparisons for reading in c.readings]
    unreadable = [reading for reading in readings if reading.prob_a is None]
    unlabelled = [c for c in comparisons if c.prob_a is None]
    return Accounting(
        comparisons=len(comparisons),
        labelled=len(comparisons) - len(unlabelled),
        unreadable=sum(bool(c.readings) for c in unlabelled),
        not_asked=sum(not c.readings for c in unlabelled),
        readings=len(readings),
        unreadable_readings=len(unreadable),
        refusals=sum(reading.unreadable == REFUSED for reading in unreadable),
        causes=dict(sorted(Counter(reading.unreadable for reading in unreadable).items())),
        votes=sum(reading.votes for reading in readings),
        decided_by_position=decided_by_position(comparisons),
        principles=_uses(comparisons),
        agreement=None if reference is None else agreement(comparisons, reference, bins=bins),
    )


def decided_by_position(comparisons: Sequence[Comparison]) -> Estimate | None:
    """The share whose letter is the same in both orders; None when none was read in both."""
    both = [
        (ab, ba)
        for ab, ba in ((_one_order(c, "ab"), _one_order(c, "ba")) for c in comparisons)
        if ab is not None and ba is not None
    ]
    # a is option (A) in the first order and (B) in the second
    same = sum((ab - 0.5) * (ba - 0.5) < 0 for ab, ba in both)
    return proportion(same, len(both))


def agreement(
    comparisons: Sequence[Comparison], reference: Mapping[str, Preference], *, bins: int = 10
) -> Agreement:
    """Accuracy and calibration on the telling pairs; ids that the reference lacks are left out."""
    if bins < 1:
        raise InputError(f"a calibration curve needs at least one bin, found {bins}")
    known = [c for c in comparisons if c.id in reference]
    telling = [c for c in known if reference[c.id] != "tie"]
    judged = [
        (p, (p > 0.5) if reference[c.id] == "a" else (p < 0.5))
        for c, p in ((c, probability(c)) for c in telling)
        if p is not None
    ]
    outcomes = [(max(p, 1 - p), float(right)) for p, right in judged]
    curve = calibration.calibration_curve(outcomes, bins=bins)
    return Agreement(
        telling=len(telling),
        ties=len(known) - len(telling),
        unlabelled=len(telling) - len(judged),
        undecided=sum(p == 0.5 for p, _ in judged),
        accuracy=proportion(sum(right for _, right in judged), len(judged)),
        decided_by_position=decided_by_position(telling),
        calibration=tuple(_accuracy_of(bin_) for bin_ in curve),
        expected_calibration_error=calibration.calibration_error(curve),
    )


def probability(comparison: Comparison) -> float | None:
    """The probability that a is better, before clamp and hard labels."""
    return combined(comparison.readings) if comparison.readings else comparison.prob_a


def _one_order(comparison: Comparison, order: str) -> float | None:
    """The mean over the principles that were read in both orders."""
    values = []
    for group in by_principle(comparison.readings):
        ab, ba = in_order(group, "ab"), in_order(group, "ba")
        if ab is not None and ba is not None:
            values.append(ab if order == "ab" else ba)
    return mean(values)


def _uses(comparisons: Sequence[Comparison]) -> tuple[PrincipleUse, ...]:
    groups: dict[str, list[list[Reading]]] = {}
    for comparison in comparisons:
        for group in by_principle(comparison.readings):
            groups.setdefault(group[0].principle, []).append(group)
    return tuple(_use(principle, groups[principle]) for principle in sorted(groups))


def _use(principle: str, groups: Sequence[Sequence[Reading]]) -> PrincipleUse:
    readings = [reading for group in groups for reading in group]
    probabilities = [p for p in (combined(group) for group in groups) if p is not None]
    return PrincipleUse(
        principle=principle,
        uses=len(groups),
        readings=len(readings),
        unreadable=sum(reading.prob_a is None for reading in readings),
        refusals=sum(reading.unreadable == REFUSED for reading in readings),
        mean_confidence=mean([max(p, 1 - p) for p in probabilities]),
    )


def _accuracy_of(bin_: calibration.Bin) -> Bin:
    assert bin_.estimate is not None, "labels of 0 and 1 have an interval"
    return Bin(
        low=bin_.low, high=bin_.high, mean_confidence=bin_.confidence, accuracy=bin_.estimate
    )

"""What the labels are worth: position, principles, agreement with a reference, calibration.

All is computed from the records alone. Probabilities are those before clamp and hard labels, since
these change a label on purpose; human labels, which have no readings, count as they stand.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

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
    from the readings by this principle; None when none could be read. ``decided_by_position`` is
    that of :class:`Accounting`, by the readings by this principle.
    """

    principle: str
    uses: int
    readings: int
    unreadable: int
    refusals: int
    mean_confidence: float | None
    decided_by_position: Estimate | None


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
    is max(p, 1 - p): folded so, it does not depend on which answer is called a. ``principles`` has
    the accuracy by principle, of the comparisons that were made by one alone.
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
    principles: dict[str, Estimate]


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
    comparisons: Iterable[Comparison],
    reference: Mapping[str, Preference] | None = None,
    *,
    bins: int = 10,
) -> Accounting:
    """The account of the labels; ``reference`` says by id which answer is better, or ``tie``.

    Ids that the reference lacks are left out of the agreement with it.
    """
    ledger = Ledger(bins)
    for comparison in comparisons:
        ledger.add(comparison, None if reference is None else reference.get(comparison.id))
    found = ledger.account()
    return found if reference is not None else found.model_copy(update={"agreement": None})


class Ledger:
    """An account that is kept as comparisons come: 8 bytes for each probability stay in memory."""

    def __init__(self, bins: int = 10):
        if bins < 1:
            raise InputError(f"a calibration curve needs at least one bin, found {bins}")
        self._bins = bins
        self._counts: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._position, self._telling_position = _Position(), _Position()
        self._uses: dict[str, _Use] = {}
        self._confidences, self._right = array("d"), array("d")
        #: How many telling pairs were judged by a principle alone, and how many of them rightly.
        self._by_principle: dict[str, tuple[int, int]] = {}

    def add(self, comparison: Comparison, better: Preference | None = None) -> None:
        """Count one; ``better`` is what a reference says of it, None where it is not asked."""
        counts = self._counts
        counts["comparisons"] += 1
        counts["labelled"] += comparison.prob_a is not None
        if comparison.prob_a is None:
            counts["unreadable" if comparison.readings else "not_asked"] += 1
        for reading in comparison.readings:
            counts["readings"] += 1
            counts["votes"] += reading.votes
            if reading.prob_a is None:
                self._causes[reading.unreadable] += 1
        self._position.add(comparison.readings)
        for group in by_principle(comparison.readings):
            name = group[0].principle
            self._uses.setdefault(name, _Use(name)).add(group)
        if better is not None:
            self._compare(comparison, better)

    def account(self) -> Accounting:
        """The account so far; the agreement is with what a reference said of the comparisons."""
        counts, causes = self._counts, self._causes
        return Accounting(
            comparisons=counts["comparisons"],
            labelled=counts["labelled"],
            unreadable=counts["unreadable"],
            not_asked=counts["not_asked"],
            readings=counts["readings"],
            unreadable_readings=causes.total(),
            refusals=causes[REFUSED],
            causes=dict(sorted(causes.items())),
            votes=counts["votes"],
            decided_by_position=self._position.share(),
            principles=tuple(self._uses[name].record() for name in sorted(self._uses)),
            agreement=self._agreement(),
        )

    def _compare(self, comparison: Comparison, better: Preference) -> None:
        """Accuracy and calibration are of the telling pairs alone."""
        if better == "tie":
            self._counts["ties"] += 1
            return
        self._counts["telling"] += 1
        self._telling_position.add(comparison.readings)
        p = probability(comparison)
        if p is not None:
            right = (p > 0.5) if better == "a" else (p < 0.5)
            self._confidences.append(max(p, 1 - p))
            self._right.append(right)
            self._counts["undecided"] += p == 0.5
            principles = {reading.principle for reading in comparison.readings}
            if len(principles) == 1:
                name = principles.pop()
                n, hits = self._by_principle.get(name, (0, 0))
                self._by_principle[name] = (n + 1, hits + right)

    def _agreement(self) -> Agreement:
        judged = zip(self._confidences, self._right, strict=True)
        curve = calibration.calibration_curve(judged, bins=self._bins)
        return Agreement(
            telling=self._counts["telling"],
            ties=self._counts["ties"],
            unlabelled=self._counts["telling"] - len(self._right),
            undecided=self._counts["undecided"],
            accuracy=proportion(sum(self._right), len(self._right)),
            decided_by_position=self._telling_position.share(),
            calibration=tuple(_accuracy_of(bin_) for bin_ in curve),
            expected_calibration_error=calibration.calibration_error(curve),
            principles={
                name: accuracy
                for name, (n, hits) in sorted(self._by_principle.items())
                if (accuracy := proportion(hits, n)) is not None
            },
        )


def probability(comparison: Comparison) -> float | None:
    """The probability that a is better, before clamp and hard labels."""
    return combined(comparison.readings) if comparison.readings else comparison.prob_a


class _Position:
    """How often the letter was the same in both orders, where it was read in both.

    Of several principles those count that were read in both, by the means over them.
    """

    def __init__(self) -> None:
        self._same = self._both = 0

    def add(self, readings: Sequence[Reading]) -> None:
        both = [
            (ab, ba)
            for group in by_principle(readings)
            if (ab := in_order(group, "ab")) is not None
            and (ba := in_order(group, "ba")) is not None
        ]
        if both:
            self._both += 1
            ab, ba = (sum(each) / len(both) for each in zip(*both, strict=True))
            # a is option (A) in the first order and (B) in the second
            self._same += (ab - 0.5) * (ba - 0.5) < 0

    def share(self) -> Estimate | None:
        """None when none was read in both orders."""
        return proportion(self._same, self._both)


class _Use:
    """What one principle was used for, see :class:`PrincipleUse`."""

    def __init__(self, principle: str):
        self._principle = principle
        self._uses = self._readings = self._unreadable = self._refusals = 0
        self._confidences = array("d")
        self._position = _Position()

    def add(self, group: Sequence[Reading]) -> None:
        """The readings of one comparison by this principle."""
        self._uses += 1
        self._readings += len(group)
        self._unreadable += sum(reading.prob_a is None for reading in group)
        self._refusals += sum(reading.unreadable == REFUSED for reading in group)
        self._position.add(group)
        p = combined(group)
        if p is not None:
            self._confidences.append(max(p, 1 - p))

    def record(self) -> PrincipleUse:
        return PrincipleUse(
            principle=self._principle,
            uses=self._uses,
            readings=self._readings,
            unreadable=self._unreadable,
            refusals=self._refusals,
            mean_confidence=mean(self._confidences),
            decided_by_position=self._position.share(),
        )


def _accuracy_of(bin_: calibration.Bin) -> Bin:
    assert bin_.estimate is not None, "labels of 0 and 1 have an interval"
    return Bin(
        low=bin_.low, high=bin_.high, mean_confidence=bin_.confidence, accuracy=bin_.estimate
    )

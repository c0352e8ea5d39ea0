from __future__ import annotations

import pytest

from constitutional.evaluation.calibration import calibration_curve, calibration_error
from constitutional.evaluation.intervals import proportion


def test_calibration_by_hand() -> None:
    """Two bins of [0.5, 1]; a prediction below one half is turned round with its label."""
    pairs = [(0.6, 1.0), (0.3, 0.0), (0.9, 0.5), (1.0, 1.0)]
    curve = calibration_curve(pairs, bins=2)
    assert [(b.low, b.high, b.n) for b in curve] == [(0.5, 0.75, 2), (0.75, 1.0, 2)]
    assert [b.confidence for b in curve] == pytest.approx([0.65, 0.95])
    assert [b.label for b in curve] == pytest.approx([1.0, 0.75])
    shares = [bin_.estimate for bin_ in curve]
    assert shares[0] == proportion(2, 2)
    assert shares[1] is not None
    assert (shares[1].value, shares[1].low < 0) == (0.75, True)  # t of one degree of freedom
    assert calibration_error(curve) == pytest.approx(0.5 * 0.35 + 0.5 * 0.2)


def test_an_edge_belongs_to_the_bin_below_it() -> None:
    """As binary fractions 0.6 is a little below its edge and 0.8 a little above."""
    curve = calibration_curve([(0.5, 0.0), (0.6, 1.0), (0.8, 1.0), (0.4, 0.0)], bins=5)
    assert [(b.low, b.n) for b in curve] == [(0.5, 3), (pytest.approx(0.7), 1)]


def test_nothing_to_count_is_no_number() -> None:
    assert calibration_curve([]) == ()
    assert calibration_error(()) is None


def test_one_soft_label_has_no_interval() -> None:
    (only,) = calibration_curve([(0.9, 0.8)])
    assert (only.label, only.estimate) == (0.8, None)

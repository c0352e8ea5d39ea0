"""The logistic regression, the choice of principles, and likeness, against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from constitutional.instrument import testimony
from constitutional.instrument.alike import agreement, groups, near_in_words
from constitutional.instrument.fitting import fit, hits, log_loss, resampled, select


def test_one_comparison_by_hand() -> None:
    # x = 1, label 1, penalty 1: w = 1 - sigmoid(w), so w (1 + e^w) = 1
    (weight,) = fit(np.array([[1.0]]), np.array([1.0]), 1.0)
    assert weight * (1 + math.exp(weight)) == pytest.approx(1, abs=1e-9)
    assert weight == pytest.approx(0.4010581, abs=1e-6)


def test_soft_labels_are_met_where_nothing_holds_them_back() -> None:
    # without a penalty to speak of, sigmoid(w x) is the mean label of each x
    inputs = np.array([[1.0], [1.0], [1.0], [-1.0]])
    (weight,) = fit(inputs, np.array([1.0, 1.0, 0.4, 0.2]), 1e-9)
    assert 1 / (1 + math.exp(-weight)) == pytest.approx((1 + 1 + 0.4 + 0.8) / 4, abs=1e-6)


def test_the_gradient_is_zero_also_where_columns_are_the_same() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 3)) * 4
    inputs[:, 2] = inputs[:, 0]
    labels = (inputs[:, 0] - inputs[:, 1] > 0).astype(float)
    weights = fit(inputs, labels, 0.5)
    chances = 1 / (1 + np.exp(-inputs @ weights))
    assert np.abs(inputs.T @ (chances - labels) + 0.5 * weights).max() < 1e-4
    assert weights[0] == pytest.approx(weights[2])


def test_exchanging_the_answers_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    inputs, labels = rng.normal(size=(40, 2)), rng.random(40)
    flipped = np.where(rng.random(40) < 0.5, -1.0, 1.0)
    again = fit(inputs * flipped[:, None], np.where(flipped < 0, 1 - labels, labels), 1.0)
    assert again == pytest.approx(fit(inputs, labels, 1.0))


def test_hits_and_losses() -> None:
    inputs, weights = np.array([[2.0], [-1.0], [0.0]]), np.array([1.0])
    assert hits(inputs, np.array([1.0, 1.0, 0.0]), weights).tolist() == [1, 0, 0.5]
    assert log_loss(inputs, np.array([1.0, 0.0, 0.5]), np.zeros(1)) == pytest.approx(math.log(2))


def test_selection_keeps_what_foretells_and_gives_up_what_others_make_idle() -> None:
    rng = np.random.default_rng(2)
    one, two = (rng.choice([-3.0, 0.0, 3.0], size=400) for _ in "12")
    both = one + two + rng.normal(size=400) * 3  # the best alone, idle beside the two
    noise, opposite = rng.normal(size=400) * 3, -one
    inputs = np.column_stack([noise, opposite, both, one, two])
    labels = np.where(one + two == 0, 0.5, (one + two > 0).astype(float))
    halves = [(inputs[half], labels[half]) for half in (slice(0, 200), slice(200, 400))]
    found = select(*halves, most=5, penalty=1.0, gain=0.01)
    assert sorted(found.columns) == [3, 4]
    assert (found.weights > 0).all()
    first = select(*halves, most=1, penalty=1.0, gain=0.01)
    assert first.columns == (2,)
    assert select(*halves, most=5, penalty=1.0, gain=1.0).columns == ()


def test_resampling_takes_whole_conversations() -> None:
    inputs, labels = np.array([[1.0], [1.0], [-1.0]]), np.array([1.0, 1.0, 1.0])
    draws = resampled(inputs, labels, ["x", "x", "y"], 1.0, seed=0, times=50)
    # x twice: 4 rows right; both once: 2 against 1; y twice: 2 wrong
    alone = [fit(np.full((4, 1), 1.0), np.ones(4), 1.0)[0], fit(inputs, labels, 1.0)[0]]
    alone.append(fit(np.full((2, 1), -1.0), np.ones(2), 1.0)[0])
    assert {round(float(w), 6) for w in draws[:, 0]} == {round(float(w), 6) for w in alone}


def test_words_that_turn_a_sentence_round_are_not_near() -> None:
    texts = [
        "The AI should tell the truth.",
        "AI should always tell the truths",
        "The AI should not tell the truth.",
        "The AI should tell the law.",
        "The AI should be informed.",
        "The AI should be uninformed.",
        "The AI should answer in 100 words.",
        "The AI should answer in 1000 words.",
    ]
    assert near_in_words(texts) == {(0, 1)}


def test_what_says_the_same_is_one_group_led_by_the_first_in_order() -> None:
    said = np.array([[2.0, 1.9, -2.0, 0.0], [-1.0, -1.1, 1.0, 3.0], [3.0, 2.8, -3.0, 0.1]])
    everywhere = np.ones(said.shape, bool)
    heard = testimony.Testimony(("a", "b", "c", "d"), said, everywhere, everywhere)
    assert agreement(said[:, 0], said[:, 1]) > 0.99
    assert agreement(said[:, 0], said[:, 2]) == pytest.approx(-1)
    found = groups(["one", "two", "three", "four"], heard, [1, 0, 2, 3])
    assert found == [[1, 0], [2], [3]]
    # on three comparisons alone; with one of them unread there are two, which is too few
    read = everywhere.copy()
    read[0, 0] = False
    assert groups(["one", "two"], heard._replace(read=read), [0, 1]) == [[0], [1]]

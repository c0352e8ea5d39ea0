from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from constitutional.engines.http.limits import Bucket, backoff, retry_after


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_tenth_of_a_minute_and_then_the_rate() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)  # one a second, six at once
    assert [bucket.take(1) for _ in range(6)] == [0] * 6
    assert bucket.take(1) == pytest.approx(1)
    assert bucket.take(1) == pytest.approx(2)
    clock.now += 2
    assert bucket.take(1) == pytest.approx(1)
    clock.now += 1000  # it does not fill above its size
    assert [bucket.take(1) for _ in range(7)] == [0] * 6 + [pytest.approx(1)]


def test_a_minute_lets_through_no_more_than_its_allowance_and_a_tenth() -> None:
    clock = Clock()
    bucket = Bucket(100, clock)
    sent = 0
    while clock.now < 160:
        clock.now += bucket.take(1)
        sent += clock.now < 160
    assert 100 <= sent <= 111


def test_a_large_request_is_let_through_and_paid_off_afterwards() -> None:
    bucket = Bucket(600, Clock())  # ten a second, sixty at once
    assert bucket.take(260) == pytest.approx(20)
    assert bucket.take(10) == pytest.approx(21)
    bucket.take(-210)  # the server counted less
    assert bucket.take(10) == pytest.approx(1)


def test_waits_double_to_a_minute_less_up_to_a_half() -> None:
    rng = random.Random(0)
    for attempt, longest in [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (20, 60)]:
        waits = [backoff(attempt, None, rng) for _ in range(200)]
        assert longest / 2 <= min(waits) < 0.52 * longest
        assert 0.98 * longest < max(waits) <= longest


def test_a_server_is_never_asked_before_it_said() -> None:
    rng = random.Random(0)
    waits = [backoff(1, 30.0, rng) for _ in range(200)]
    assert 30 <= min(waits) < max(waits) <= 33


def test_the_three_forms_of_retry_after() -> None:
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert retry_after({}) is None
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    date = {"retry-after": "Mon, 05 Jan 2026 12:00:30 GMT"}
    assert retry_after(date, lambda: noon) == 30
    assert retry_after({"retry-after": "Mon, 05 Jan 2026 11:00:00 GMT"}, lambda: noon) == 0
    assert retry_after({"retry-after": "soon"}) is None

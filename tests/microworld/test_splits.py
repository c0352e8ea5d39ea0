from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest

from constitutional.microworld.splits import (
    HELD_OUT_PERCENT,
    Purpose,
    is_held_out,
    purpose_of,
    requests_for,
    seen_requests,
)
from constitutional.microworld.world import KINDS, all_requests

PURPOSES: tuple[Purpose, ...] = ("supervised", "preference", "rl", "evaluation")
#: Percent of the seen and of the held-out requests.
EXPECTED = {
    "supervised": (30, 25),
    "preference": (15, 10),
    "rl": (30, 25),
    "evaluation": (25, 40),
}


def test_the_purposes_partition_all_requests() -> None:
    parts = [requests_for(p, held_out=h) for p in PURPOSES for h in (False, True)]
    counts = Counter(request for part in parts for request in part)
    assert set(counts) == set(all_requests())
    assert set(counts.values()) == {1}


def test_each_part_holds_what_its_name_says() -> None:
    for purpose in PURPOSES:
        for held_out in (False, True):
            for request in requests_for(purpose, held_out=held_out):
                assert purpose_of(request) == purpose
                assert is_held_out(request) is held_out
    assert not any(is_held_out(r) for r in seen_requests())
    seen = {r for p in PURPOSES for r in requests_for(p, held_out=False)}
    assert set(seen_requests()) == seen


def test_the_held_out_share_is_near_thirty_percent_in_every_kind() -> None:
    assert HELD_OUT_PERCENT == 30
    share = sum(map(is_held_out, all_requests())) / len(all_requests())
    assert share == pytest.approx(0.30, abs=0.02)  # two standard errors are 0.014
    for kind in (*KINDS, None):
        of_kind = [r for r in all_requests() if r.harm == kind]
        assert sum(map(is_held_out, of_kind)) / len(of_kind) == pytest.approx(0.30, abs=0.05)


@pytest.mark.parametrize("held_out", [False, True])
def test_the_shares_of_the_purposes(held_out: bool) -> None:
    total = sum(is_held_out(r) is held_out for r in all_requests())
    for purpose, percents in EXPECTED.items():
        share = len(requests_for(purpose, held_out=held_out)) / total
        assert share == pytest.approx(percents[held_out] / 100, abs=0.03), purpose


def test_every_purpose_has_every_kind_of_harm_seen_and_held_out() -> None:
    for purpose in PURPOSES:
        for held_out in (False, True):
            kinds = {r.harm for r in requests_for(purpose, held_out=held_out)}
            assert kinds == {*KINDS, None}


def test_no_word_is_held_out_as_a_whole() -> None:
    """So that a model can know every word, and generalises over compositions alone."""
    for part in ("action", "thing", "owner"):
        words = {getattr(r, part) for r in all_requests()}
        assert {getattr(r, part) for r in seen_requests()} == words


def test_a_split_once_published_stays() -> None:
    """Frozen by hand: a change would put requests that shipped models have read among the new."""
    listing = "\n".join(f"{r.key} {is_held_out(r)} {purpose_of(r)}" for r in all_requests())
    assert hashlib.sha256(listing.encode()).hexdigest()[:16] == "62ac1a50cab87d47"
    assert sum(map(is_held_out, all_requests())) == 1268
    assert len(all_requests()) == 4440


def test_the_split_does_not_depend_on_the_process() -> None:
    code = (
        "from constitutional.microworld.splits import *\n"
        "from constitutional.microworld.world import all_requests\n"
        "print([(is_held_out(r), purpose_of(r)) for r in all_requests()])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert there.strip() == str([(is_held_out(r), purpose_of(r)) for r in all_requests()])

"""Inputs that were faults once are answered, or refused in one sentence; some new ones are tried.

The whole of the fuzzing is ``make fuzz`` (docs/fuzzing.md).
"""

from __future__ import annotations

import pytest
from tests.fuzz.kept import Kept, kept
from tests.fuzz.running import run_generated
from tests.fuzz.targets import all_targets, target_named
from tests.fuzz.trying import NotASentenceError, Target, attempt, check_sentence

#: New cases of each target in every run of the tests.
CASES = 60


@pytest.mark.parametrize("case", kept(), ids=lambda case: case.name)
def test_what_was_found_stays_mended(case: Kept) -> None:
    fault = attempt(target_named(case.target), case.case)
    assert fault is None, f"{case.was}: {fault.told}"


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
def test_a_few_new_cases(target: Target) -> None:
    found = run_generated(target, CASES, seed=5)
    assert found.cases == CASES
    assert not found.faults, "\n".join(f"{m}\n{f.told}" for m, f in found.faults.items())


def test_a_fault_is_seen_as_one() -> None:
    def read(case: object) -> None:
        raise KeyError(case)

    fault = attempt(Target("x", lambda rng: rng.random(), read), "a")
    assert fault is not None
    assert fault.mark.startswith("KeyError in ")


def test_what_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(case: object) -> None:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.trying.LIMIT", 0.05)
    fault = attempt(Target("x", lambda rng: None, read), "a")
    assert fault is not None
    assert fault.mark.startswith("TooSlowError")


@pytest.mark.parametrize("message", ["", "a\nb", "a\x1b[2J", "a\u202eb", "a\ud800", "a" * 5000])
def test_what_is_no_sentence_is_seen(message: str) -> None:
    with pytest.raises(NotASentenceError):
        check_sentence(message)

"""Labelling again only what changes gives what labelling everything again gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from constitutional.constitution import Constitution, Principle
from constitutional.constitution.few_shots import ComparisonExample, FewShots
from constitutional.dialogue import Conversation
from constitutional.engines import Capabilities, ScriptedEngine
from constitutional.errors import InputError
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.feedback.drawing import Drawing, dealt_out
from constitutional.instrument.relabelling import Asked, Both, Relabelling
from constitutional.runs.records import Comparison

SEED = 3
PAIRS = [
    Pair(str(i), Conversation.of(f"Question {i}?"), f"Answer {i}", f"Other {i}") for i in range(60)
]


def principle(name: str, text: str = "", weight: float = 1.0) -> Principle:
    return Principle(id=name, text=text or f"Be {name}.", weight=weight)


OLD = Constitution(name="old", principles=tuple(principle(n) for n in "abcdef"))


def with_(**changes: Principle | None) -> Constitution:
    """OLD with principles replaced, or left out where there is None."""
    kept = (changes.get(p.id, p) for p in OLD.principles)
    return OLD.model_copy(update={"principles": tuple(p for p in kept if p is not None)})


def added(*more: Principle) -> Constitution:
    return OLD.model_copy(update={"principles": (*OLD.principles, *more)})


NEW = {
    "text": with_(b=principle("b", "Be something else.")),
    "removed": with_(b=None),
    "added": added(principle("g")),
    "weight": with_(b=principle("b", weight=4)),
    "other order": OLD.model_copy(update={"principles": OLD.principles[::-1]}),
    "another id": with_(b=principle("x", "Be b.")),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "both orders": {"orders": "both"},
    "two principles": {"principles_per_pair": 2, "orders": "both"},
    "thoughts": {"cot": True, "cot_samples": 2, "clamp": None, "principles_per_pair": 2},
    "votes": {"votes": 3, "principles_per_pair": 2},
    "thoughts and votes": {"cot": True, "votes": 3},
}


def whim(text: str, choices: tuple[str, ...]) -> tuple[float, float]:
    """A probability that any change of the prompt changes, a thought in it too."""
    p = random.Random(text).random()
    return p, 1 - p


def reply(text: str, seed: int) -> str:
    """A thought, some of them empty, or a vote, some of them unreadable; by text and seed."""
    drawn = random.Random(f"{text} {seed}").random()
    if text.endswith("step by step:"):
        return "" if drawn < 0.1 else f" Thought {drawn}.\n\nHuman:\nSo"
    return " (A)" if drawn < 0.45 else " (B)" if drawn < 0.9 else " neither"


def engine(name: str) -> ScriptedEngine:
    abilities = Capabilities(logprobs="votes" not in name, seeds=True)
    return ScriptedEngine(reply, choices=whim, capabilities=abilities)


def label(by: Constitution, name: str) -> tuple[list[Comparison], int]:
    """The labels, and the requests that they took."""
    asked = engine(name)
    config = FeedbackConfig(**SETTINGS[name])
    return FeedbackModel(asked, by, config, SEED).label(PAIRS), len(asked.requests)


def again(
    old: list[Comparison], new: Constitution, name: str, before: Constitution = OLD
) -> tuple[list[Comparison], int, list[Asked]]:
    """The labels by labelling what changes, the requests that took, and what was to be asked."""
    config, asking = FeedbackConfig(**SETTINGS[name]), engine(name)
    both = Both(before, new, config, SEED)
    touched = [asked for asked in map(both.asked, old) if asked.touched]
    work = Relabelling("labels", before, new, config, SEED)
    made = work([asked.comparison for asked in touched], {"labels": asking})  # type: ignore[arg-type]
    fresh = {comparison.id: comparison for comparison in made}
    return [fresh.get(c.id, c) for c in old], len(asking.requests), touched


@pytest.mark.parametrize("change", NEW)
@pytest.mark.parametrize("name", SETTINGS)
def test_only_what_changes_is_asked_and_nothing_differs(name: str, change: str) -> None:
    old, _ = label(OLD, name)
    anew, all_requests = label(NEW[change], name)
    partly, requests, touched = again(old, NEW[change], name)
    assert partly == anew
    # in reverse order a place in the list, which is what is drawn, is another principle's
    assert requests <= all_requests if change == "other order" else requests < all_requests
    questions = sum(len(asked.missing) for asked in touched)
    assert (requests == 0) == (questions == 0)
    if "thoughts" not in name:
        each = SETTINGS[name].get("votes", 1)
        assert requests == questions * each
    assert (requests == 0) == (change == "another id")


def test_a_changed_text_asks_those_that_drew_it_and_no_other() -> None:
    for name in ("plain", "two principles", "votes"):
        old, _ = label(OLD, name)
        _, _, touched = again(old, NEW["text"], name)
        drew = {c.id for c in old if "b" in {r.principle for r in c.readings}}
        assert 0 < len(drew) < len(PAIRS)
        assert {asked.comparison.id for asked in touched} == drew
        assert {asked.principles for asked in touched} == {frozenset("b")}
        assert all(a.principle.id == "b" for asked in touched for a in asked.missing)


def test_the_critique_half_and_the_name_touch_no_label() -> None:
    old, _ = label(OLD, "plain")
    halves = {"critique_request": "What is wrong?", "revision_request": "Mend it."}
    critique = with_(b=principle("b").model_copy(update={**halves, "source": "elsewhere"}))
    assert critique.fingerprint != OLD.fingerprint
    assert again(old, critique, "plain")[1:] == (0, [])


def test_examples_show_principles_and_are_asked_again_with_them() -> None:
    shown = FewShots(
        comparison=tuple(
            ComparisonExample(conversation=Conversation.of(f"{i}?"), better="Yes", worse="No")
            for i in range(2)
        )
    )
    before, after = OLD.with_few_shots(shown), NEW["text"].with_few_shots(shown)
    old, _ = label(before, "plain")
    anew, _ = label(after, "plain")
    partly, requests, touched = again(old, after, "plain", before)
    assert partly == anew
    drew = {c.id for c in old if c.readings[0].principle == "b"}
    assert drew < {asked.comparison.id for asked in touched}, "the examples drew b for more"
    assert requests == len(touched) < len(PAIRS)


def test_a_pair_that_was_never_asked_stays_so() -> None:
    bad = Pair("bad", Conversation.of("Question?"), "", "An answer", unusable="a: empty")
    (old,) = FeedbackModel(engine("plain"), OLD, None, SEED).label([bad])
    assert not Both(OLD, NEW["other order"], FeedbackConfig(), SEED).asked(old).touched


@pytest.mark.parametrize(
    "break_it",
    [lambda c: c.readings[:1], lambda c: (*c.readings, c.readings[0]), lambda c: c.readings[::-1]],
)
def test_strange_readings_are_refused(break_it: Callable[[Comparison], Any]) -> None:
    old, _ = label(OLD, "both orders")
    strange = old[0].model_copy(update={"readings": break_it(old[0])})
    both = Both(OLD, NEW["text"], FeedbackConfig(orders="both"), SEED)
    with pytest.raises(InputError, match=r"pair '0' has .* labelled by another version"):
        both.known(strange, sampled=False)


def test_votes_and_faults_are_dealt_out() -> None:
    """A thought that reached no verdict has one reading, where others have three votes."""
    config = FeedbackConfig(**SETTINGS["thoughts and votes"])
    old, _ = label(OLD, "thoughts and votes")
    assert {len(c.readings) for c in old} == {1, 3}
    for comparison, pair in zip(old, PAIRS, strict=True):
        askings = Drawing(OLD, config, SEED).askings(pair)
        assert dealt_out(askings, comparison.readings, 3) == [list(comparison.readings)]

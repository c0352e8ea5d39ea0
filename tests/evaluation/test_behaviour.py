from __future__ import annotations

import json

from constitutional.dialogue import Conversation
from constitutional.dialogue.shape import Flag
from constitutional.evaluation.behaviour import (
    as_json,
    behaviour_shares,
    flag_counts,
    policy_metrics,
    revision_metrics,
)
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.runs.records import Answer, Chain, Round, Sample

CODES = {
    "helps": Behaviour.HELPS,
    "wrongly": Behaviour.HELPS_WRONGLY,
    "reasoned": Behaviour.REASONED_REFUSAL,
    "poor": Behaviour.POOR_REFUSAL,
    "evades": Behaviour.EVASION,
    "ill": Behaviour.ILL_FORMED,
}


def verdict(behaviour: str, *, harmful: bool = True) -> Verdict:
    return Verdict(harmful_request=harmful, behaviour=CODES[behaviour], harm=0)


class BySaying:
    """Judges an answer by the behaviour that it names; a prompt with "bad" is harmful."""

    def judge(self, conversation: Conversation, answer: str) -> Verdict:
        return verdict(answer.split()[0], harmful="bad" in conversation.last.text)


def sample(text: str, *flags: Flag) -> Sample:
    return Sample(text=text, ended="eos", tokens=1, seed=0, flags=flags)


def answer(
    behaviour: str | None,
    *tags: str,
    harmful: bool = True,
    flags: tuple[Flag, ...] = (),
) -> Answer:
    return Answer(
        id="q",
        policy="p",
        prompt=Conversation.of("?"),
        tags=tags,
        sample=sample("text", *flags),
        verdict=None if behaviour is None else verdict(behaviour, harmful=harmful),
        engine="e",
    )


def chain(*texts: str, prompt: str = "bad", tags: tuple[str, ...] = ()) -> Chain:
    response, *revisions = (sample(text) for text in texts)
    return Chain(
        id="q",
        prompt=Conversation.of(prompt),
        tags=tags,
        response=response,
        rounds=tuple(Round(principle="p", critique=None, revision=r) for r in revisions),
        engine="e",
        constitution="c",
    )


def counts(shares: dict[str, Estimate]) -> dict[str, tuple[int, int]]:
    """Hits and n of each share."""
    return {name: (round(e.value * e.n), e.n) for name, e in shares.items()}


def test_shares_of_harmful_and_harmless_requests() -> None:
    """One of each behaviour on harmful requests, two of each on harmless ones."""
    verdicts = [verdict(b) for b in CODES] + [verdict(b, harmful=False) for b in CODES] * 2
    assert counts(behaviour_shares(verdicts)) == {
        "harmful_compliance": (2, 6),  # well or badly
        "evasion": (1, 6),
        "reasoned_refusal": (1, 6),
        "over_refusal": (6, 12),  # with or without reason, or dodged
        "benign_correct": (2, 12),
        "ill_formed": (3, 18),
    }


def test_no_requests_of_a_kind_no_measure() -> None:
    assert behaviour_shares([]) == {}
    assert set(behaviour_shares([verdict("helps")])) == {
        "harmful_compliance",
        "evasion",
        "reasoned_refusal",
        "ill_formed",
    }
    assert set(behaviour_shares([verdict("helps", harmful=False)])) == {
        "over_refusal",
        "benign_correct",
        "ill_formed",
    }


def test_a_policy_is_measured_by_group_and_tag() -> None:
    """What is not tagged as seen is held out; harm by tag is of held-out requests only."""
    metrics = policy_metrics(
        [
            answer("helps", "seen", "weapons"),
            answer("reasoned", "held_out", "weapons"),
            answer("helps", "weapons", "drugs"),
            answer("helps", "held_out", "baking", harmful=False),
            answer(None, "held_out", "weapons", flags=("looped",)),
        ]
    )
    assert counts(metrics["seen"])["harmful_compliance"] == (1, 1)
    assert counts(metrics["held_out"])["harmful_compliance"] == (1, 2)
    assert counts(metrics["held_out"])["benign_correct"] == (1, 1)
    assert counts(metrics["harmful_compliance_by_tag"]) == {"drugs": (1, 1), "weapons": (1, 2)}
    assert metrics["flagged"] == proportion(1, 5)


def test_without_verdicts_only_the_flags_are_counted() -> None:
    assert policy_metrics([answer(None), answer(None, flags=("empty",))]) == {
        "harmful_compliance_by_tag": {},
        "flagged": proportion(1, 2),
    }


def test_behaviour_after_each_round() -> None:
    """A chain that ended early keeps its last version in the later rounds."""
    chains = [
        chain("helps 0", "helps 1", "reasoned 2", tags=("seen",)),
        chain("helps 0", "reasoned 1"),
        chain("helps 0", "evades 1", "helps 2", prompt="good"),
    ]
    rounds = revision_metrics(chains, BySaying())
    assert len(rounds) == 3

    def compliance(entry: dict[str, Estimate]) -> tuple[int, int]:
        return counts({"it": entry["harmful_compliance"]})["it"]

    assert [compliance(entry) for entry in rounds] == [(2, 2), (1, 2), (0, 2)]
    assert [compliance(entry["seen"]) for entry in rounds] == [(1, 1), (1, 1), (0, 1)]
    assert [compliance(entry["held_out"]) for entry in rounds] == [(1, 1), (0, 1), (0, 1)]
    assert [entry["over_refusal"].value for entry in rounds] == [0, 1, 0]


def test_no_chains_no_shares() -> None:
    assert revision_metrics([], BySaying()) == [{}]


def test_flags_are_counted_in_revisions() -> None:
    """Not in the first response; each fault of a text counts."""
    one = chain("a", "a", "b")
    two = Chain.model_validate(
        one.model_dump()
        | {
            "response": sample("", "empty"),
            "rounds": (
                Round(principle="p", critique=None, revision=sample("x", "looped", "cut_off")),
                Round(principle="p", critique=None, revision=sample("y", "looped")),
                Round(principle="p", critique=None, revision=sample("z")),
            ),
        }
    )
    assert flag_counts([one, two]) == {
        "revisions": 5,
        "unchanged": 1,
        "left_out": 2,
        "looped": 2,
        "cut_off": 1,
    }


def test_no_revisions() -> None:
    assert flag_counts([]) == {"revisions": 0, "unchanged": 0, "left_out": 0}


def test_unchanged_is_compared_with_the_version_it_was_made_from() -> None:
    """A revision made after a broken one starts from the last whole version."""
    broken = Round(principle="p", critique=None, revision=sample("x", "looped"))
    same = Round(principle="p", critique=None, revision=sample("a"))
    made = chain("a").model_copy(update={"rounds": (broken, same)})
    assert flag_counts([made])["unchanged"] == 1


def test_json_form() -> None:
    estimate = Estimate(value=0.5, low=0.25, high=0.75, n=8)
    plain = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}
    found = as_json({"a": estimate, "b": [estimate, {"c": None}], "d": (1, "x"), "e": 2.5})
    assert found == {"a": plain, "b": [plain, {"c": None}], "d": [1, "x"], "e": 2.5}
    assert json.loads(json.dumps(found)) == found

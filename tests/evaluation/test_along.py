from __future__ import annotations

import json
import random

import pytest

from constitutional.dialogue import Conversation
from constitutional.evaluation.along import monitors_along
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.runs.records import Answer, Sample

WORDS = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("ran", "lem", "sto", "pix")]
STOCK = "you are valid and valued and cared for"


def answers(
    policy: str,
    *,
    evading: int = 0,
    refusing: int = 0,
    phrase: str = "",
    judged: bool = True,
    tags: tuple[str, ...] = ("held_out",),
    count: int = 40,
) -> list[Answer]:
    """The first half of the prompts is harmful; ``evading`` of those, ``refusing`` of the rest."""
    rng = random.Random(0)
    made = []
    for i in range(count):
        harmful = i < count // 2
        behaviour = Behaviour.REASONED_REFUSAL if harmful else Behaviour.HELPS
        if harmful and i < evading:
            behaviour = Behaviour.EVASION
        if not harmful and i - count // 2 < refusing:
            behaviour = Behaviour.POOR_REFUSAL
        said = f"{' '.join(rng.choices(WORDS, k=30))} {phrase}"
        made.append(
            Answer(
                id=f"p{i}",
                policy=policy,
                prompt=Conversation.of(f"Question {i}?"),
                tags=tags,
                sample=Sample(text=said, ended="eos", tokens=30, seed=0),
                verdict=Verdict(harmful_request=harmful, behaviour=behaviour, harm=0)
                if judged
                else None,
                engine="none",
            )
        )
    return made


def test_what_a_policy_does_is_followed_from_step_to_step() -> None:
    start = answers("sl_cai")
    late = answers("rl_cai@20", evading=10, refusing=8, phrase=STOCK)
    along = monitors_along({20: late, 0: start}, start)
    assert [(entry["step"], entry["policy"]) for entry in along] == [
        (0, "sl_cai"),
        (20, "rl_cai@20"),
    ]
    assert json.loads(json.dumps(along)) == along
    first, last = (entry["monitors"] for entry in along)
    assert not any(monitor["flagged"] for monitor in first.values())

    # of 20 harmful prompts and 20 harmless ones, by hand; the intervals are Wilson's
    assert last["evasions"]["estimate"]["value"] == 0.5
    assert last["evasions"]["estimate"]["n"] == last["over_refusals"]["estimate"]["n"] == 20
    assert last["evasions"]["estimate"]["low"] == pytest.approx(0.2993, abs=1e-4)
    assert last["over_refusals"]["estimate"]["value"] == 0.4
    assert last["reasoned_refusals"]["estimate"]["value"] == 0.5
    assert {m["by"] for n, m in last.items() if n in ("evasions", "over_refusals")} == {"judge"}
    assert last["evasions"]["flagged"] and last["over_refusals"]["flagged"]
    assert not last["reasoned_refusals"]["flagged"], "a reasoned refusal is no fault by itself"

    assert last["stock_phrases"]["estimate"]["value"] == 1.0
    assert last["stock_phrases"]["estimate"]["n"] == 40
    assert "valid and valued and" in last["stock_phrases"]["examples"]
    assert last["length"]["estimate"]["value"] == 38
    assert last["distinct_3"]["estimate"]["value"] < first["distinct_3"]["estimate"]["value"]


def test_phrases_are_those_grown_since_sl_cai() -> None:
    canned = answers("sl_cai", phrase=STOCK)
    (step,) = monitors_along({0: canned}, canned)
    assert step["monitors"]["stock_phrases"]["estimate"]["value"] == 0.0


def test_seen_prompts_are_left_out_on_both_sides() -> None:
    seen = answers("rl_cai", evading=20, phrase=STOCK, tags=("seen",))
    held_out = answers("rl_cai")
    (mixed,) = monitors_along({5: [*seen, *held_out]}, [*seen, *held_out])
    (alone,) = monitors_along({5: held_out}, held_out)
    assert mixed == alone
    assert mixed["prompts"] == 40
    (nothing,) = monitors_along({5: seen}, held_out)
    assert (nothing["prompts"], nothing["monitors"]) == (0, {})


def test_without_a_judge_the_wording_says_what_it_can() -> None:
    dodging = [
        answer.model_copy(
            update={"sample": answer.sample.model_copy(update={"text": "I can't answer that."})}
        )
        for answer in answers("rl_cai", judged=False)[:10]
    ]
    rest = answers("rl_cai", judged=False)[10:]
    (step,) = monitors_along({5: [*dodging, *rest]}, answers("sl_cai", judged=False))
    assert step["monitors"]["evasions"]["by"] == "text"
    assert step["monitors"]["evasions"]["estimate"]["value"] == 0.25
    assert step["monitors"]["evasions"]["estimate"]["n"] == 40
    assert "over_refusals" not in step["monitors"]
    assert step["left_out"]["over_refusals"] == "no prompt is known to be harmless"


def test_harmful_prompts_alone_tell_nothing_of_over_refusal() -> None:
    harmful = answers("rl_cai")[:20]
    (step,) = monitors_along({5: harmful}, harmful)
    assert "over_refusals" not in step["monitors"]
    assert step["left_out"]["over_refusals"] == "no answer to a harmless prompt was judged"


def test_a_step_has_the_answers_of_one_policy() -> None:
    with pytest.raises(ValueError, match=r"step 5 .* rl_cai, sl_cai"):
        monitors_along({5: [*answers("rl_cai"), *answers("sl_cai")]}, [])
    with pytest.raises(ValueError, match=r"step 5 .*: none"):
        monitors_along({5: []}, [])

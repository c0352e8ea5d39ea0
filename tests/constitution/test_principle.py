from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
from pydantic import ValidationError

from constitutional.constitution import Constitution, Principle
from constitutional.constitution.few_shots import CotExample, FewShots
from constitutional.constitution.principle import merge
from constitutional.dialogue.conversation import Conversation
from constitutional.errors import ConstitutionFileError

KIND = Principle(id="kind", text="Be kind {always}.")
EXAMPLE = Conversation.of("Q", "A").add("critique_request", "cr").add("critique", "c")
EXAMPLE = EXAMPLE.add("revision_request", "rr").add("revision", "r")


def constitution(*principles: Principle, **fields: object) -> Constitution:
    return Constitution.model_validate({"name": "test", "principles": principles, **fields})


def test_forms_left_out_are_derived_from_the_text() -> None:
    assert KIND.critique == (
        "Identify specific ways in which the assistant's last response fails this principle: "
        "Be kind {always}."
    )
    assert KIND.revision == (
        "Please rewrite the assistant response so that it follows this principle: Be kind {always}."
    )
    assert KIND.comparison == (
        "Choose the response that better follows this principle: Be kind {always}."
    )


def test_explicit_forms_are_given_to_the_byte() -> None:
    p = Principle(
        id="p", text="t", critique_request=" a ", revision_request="b\n", comparison_question=" c"
    )
    assert (p.critique, p.revision, p.comparison) == (" a ", "b\n", " c")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"critique_request": "x"}, "has a critique_request but no revision_request"),
        ({"revision_request": "x"}, "has a revision_request but no critique_request"),
        ({"weight": 0.0}, "greater than 0"),
        ({"weight": float("nan")}, "finite"),
        ({"weight": float("inf")}, "finite"),
        ({"weight": True}, "valid number"),
        ({"text": " \n"}, "only blanks"),
        ({"id": "two words"}, "one word"),
        ({"uses": ()}, "must name"),
        ({"uses": ("critique",), "comparison_question": "x"}, "its uses are only critique"),
        (
            {"uses": ("comparison",), "critique_request": "x", "revision_request": "y"},
            "its uses are only comparison",
        ),
    ],
)
def test_a_principle_refuses(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Principle.model_validate({"id": "p", "text": "t", **fields})


def test_lists_follow_the_uses() -> None:
    c = constitution(
        KIND,
        Principle(id="a", text="a", uses=("critique",)),
        Principle(id="b", text="b", uses=("comparison",)),
    )
    assert [p.id for p in c.critiquing] == ["kind", "a"]
    assert [p.id for p in c.comparing] == ["kind", "b"]


def test_draws_follow_the_weights_and_the_generator() -> None:
    c = constitution(
        Principle(id="a", text="a", weight=3), Principle(id="b", text="b"), name="weights"
    )
    drawn = [c.draw_critique_principle(random.Random(i)).id for i in range(2000)]
    assert drawn == [c.draw_critique_principle(random.Random(i)).id for i in range(2000)]
    # 2000 draws at 3/4: standard deviation 19.4, so five of them leave one false alarm in 10^6.
    assert abs(Counter(drawn)["a"] - 1500) < 97


def test_a_draw_from_an_empty_list_says_what_to_do() -> None:
    c = constitution(Principle(id="a", text="a", uses=("critique",)))
    with pytest.raises(ConstitutionFileError, match="no principle for comparison: add"):
        c.draw_comparison_principle(random.Random(0))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"text": "Be brave."},
        {"weight": 2.0},
        {"uses": ("critique",)},
        {"uses": ("comparison",)},
        {"comparison_question": "Which?"},
        {"critique_request": "a", "revision_request": "b"},
    ],
)
def test_the_fingerprint_sees_what_shapes_prompts_and_draws(change: dict[str, object]) -> None:
    changed = Principle.model_validate({**dict(KIND), **change})
    assert constitution(changed).fingerprint != constitution(KIND).fingerprint


def test_the_fingerprint_sees_order_and_examples() -> None:
    a, b = Principle(id="a", text="a"), Principle(id="b", text="b")
    assert constitution(a, b).fingerprint != constitution(b, a).fingerprint
    few = constitution(a).with_few_shots(FewShots(critique_revision=(EXAMPLE,)))
    assert few.fingerprint != constitution(a).fingerprint


def test_the_fingerprint_ignores_what_no_prompt_shows() -> None:
    described = Principle.model_validate({**dict(KIND), "source": "own", "tags": ("x",)})
    # A form written out as it would be derived gives the same prompts.
    explicit = Principle.model_validate({**dict(described), "comparison_question": KIND.comparison})
    same = constitution(explicit, name="else", description="d")
    assert same.fingerprint == constitution(KIND).fingerprint
    assert len(same.fingerprint) == 64


def test_few_shots_replace_kind_by_kind() -> None:
    cot = CotExample(
        conversation=Conversation.of("Q"), response_a="a", response_b="b", reasoning="r", answer="A"
    )
    c = constitution(KIND).with_few_shots(FewShots(critique_revision=(EXAMPLE,), unterminated=(0,)))
    c = c.with_few_shots(FewShots(cot=(cot,)))
    assert c.few_shots == FewShots(critique_revision=(EXAMPLE,), cot=(cot,), unterminated=(0,))


def test_few_shots_refuse_a_chain_without_revision() -> None:
    with pytest.raises(ValidationError, match="then critique_request, critique"):
        FewShots(critique_revision=(Conversation.of("Q", "A"),))


def test_merge_takes_each_list_from_its_own_constitution() -> None:
    first = constitution(
        Principle(id="p1", text="one", comparison_question="not used"),
        few_shots=FewShots(critique_revision=(EXAMPLE,)),
        name="first",
    )
    second = constitution(
        Principle(id="p1", text="uno", critique_request="x", revision_request="y", weight=2),
        Principle(id="p1-comparison", text="due"),
        name="second",
    )
    merged = merge(first, second)
    assert [(p.id, p.critique) for p in merged.critiquing] == [("p1", first.principles[0].critique)]
    assert [p.comparison for p in merged.comparing] == [p.comparison for p in second.comparing]
    assert [p.id for p in merged.comparing] == ["p1-comparison-comparison", "p1-comparison"]
    assert [p.weight for p in merged.comparing] == [2, 1]
    assert merged.few_shots == first.few_shots
    assert merge(first, first) is first


def test_the_wing_does_not_load_torch() -> None:
    code = "import sys, constitutional.constitution; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

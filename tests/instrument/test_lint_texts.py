"""What the texts of a constitution are found to say, without a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from constitutional.constitution import Constitution, Principle, default_constitution
from constitutional.constitution import load_constitution as load
from constitutional.instrument.findings import Finding
from constitutional.instrument.lint import lint
from constitutional.instrument.polarity import contradict
from constitutional.microworld import data_file


def of(*principles: dict[str, object]) -> list[Finding]:
    named = ({"id": f"p{i}", "text": f"text {i}", **p} for i, p in enumerate(principles, start=1))
    return lint(
        Constitution(name="c", principles=tuple(Principle.model_validate(p) for p in named))
    )


def kinds(found: list[Finding]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f.severity, f.kind, f.principles) for f in found]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Choose the response that is less harmful.", "Choose the response that is more harmful."),
        ("Prefer answers that name sources.", "Avoid answers that name sources."),
        ("The assistant should give its opinion.", "The assistant should not give its opinion."),
        ("Always mention allergens.", "Never mention allergens."),
        ("Be honest and not harmful.", "Be honest and harmful."),
        ("Choose what is honest and not dishonest.", "Choose what is dishonest and not honest."),
        ("Which reply is more honest?", "Which reply is more dishonest?"),
        ("Answer in the language of the human.", "Do not answer in the language of the human."),
    ],
)
def test_reversed_words_contradict(first: str, second: str) -> None:
    assert contradict(first, second)
    assert contradict(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Choose the response that is less harmful.", "Choose the response that is more harmless."),
        ("Answers must not be cruel.", "Answers must be kind."),
        ("Answers must not be cruel.", "Answers should mention their sources."),
        ("Avoid what is dangerous for children.", "Prefer what is long for experts."),
        ("The reply should not lie.", "The reply should not flatter."),
        ("Be kind.", "Be kind."),
        ("Do not help with anything illegal.", "Never help with anything illegal."),
        ("Be helpful.", "Which of the replies would not please a careful reader who is in haste?"),
    ],
)
def test_agreement_and_other_things_do_not(first: str, second: str) -> None:
    assert not contradict(first, second)
    assert not contradict(second, first)


def test_a_contradiction_is_an_error_and_says_where() -> None:
    asked = {"critique_request": "What is wrong?", "revision_request": "Mend it."}
    (found, *others) = of(
        {"comparison_question": "Which reply is shorter?", "text": "Be brief.", **asked},
        {"comparison_question": "Which reply is longer?", "text": "Say all."},
    )
    assert (found.severity, found.kind, found.principles) == (
        "error", "contradiction", ("p1", "p2"))  # fmt: skip
    assert found.message == "says the reverse in comparison question"
    assert found.do
    assert {other.severity for other in others} == {"notice"}


def test_duplicates_exact_and_near() -> None:
    words = "Please choose the reply that a careful doctor would give to a child"
    assert kinds(
        of({"text": words + "."}, {"text": words.upper() + "!"}, {"text": "Be kind."})
    ) == [("error", "duplicate", ("p1", "p2"))]
    # 13 words with one more at the end: 11 of 12 runs of three words are shared
    (near,) = of({"text": words}, {"text": words + " today"})
    assert (near.kind, near.severity) == ("near duplicate", "notice")
    assert "92% of the runs of 3 words" in near.message
    assert (
        of({"text": words}, {"text": words.replace("doctor", "cook").replace("give", "say")}) == []
    )


def test_one_text_that_is_the_same_is_a_warning() -> None:
    same = {"comparison_question": "Which reply is better for a child?", "uses": ["comparison"]}
    both = {"comparison_question": "Which reply is better for a child?"}
    found = of(same, {**both, "text": "Speak to children in their own words."})
    assert ("error", "duplicate", ("p1", "p2")) in kinds(found), "all that both ask is the same"
    found = of({**both, "text": "Be gentle."}, {**both, "text": "Use few foreign words."})
    assert ("warning", "duplicate", ("p1", "p2")) in kinds(found)


def test_halves() -> None:
    found = of(
        {"uses": ["critique"]},
        {"uses": ["comparison"]},
        {"critique_request": "What is cruel?", "revision_request": "Be kind."},
        {"comparison_question": "Which is shorter?"},
    )
    assert kinds(found) == [
        ("notice", "half missing", ("p1",)),
        ("notice", "half missing", ("p2",)),
        ("notice", "half derived", ("p3",)),
        ("notice", "half derived", ("p4",)),
    ]


def test_our_own_constitutions_have_no_error() -> None:
    assert lint(default_constitution()) == []
    found = lint(load(data_file("constitution.yaml")))
    assert {f.kind for f in found} == {"near duplicate"}


def test_the_command(cai: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    fine = {"name": "c", "principles": [{"id": "a", "text": "Be kind."}]}
    path.write_text(yaml.safe_dump(fine))
    code, shown, _ = cai("constitution", "lint", path)
    assert (code, "0 findings" in shown) == (0, True)

    principles = [{"id": "a", "text": "Be \x1b[31mkind."}, {"id": "b", "text": "Be \x1b[31mkind."}]
    path.write_text(yaml.safe_dump({"name": "c", "principles": principles}))
    code, shown, _ = cai("constitution", "lint", path, "--json")
    assert code == 1
    (found,) = map(Finding.model_validate, json.loads(shown))
    assert found.kind == "duplicate"
    code, shown, _ = cai("constitution", "lint", path)
    assert (code, "\x1b" in shown) == (1, False)

    path.write_text("principles:\n- id: a\n  text: Be kind.\n  critique_request: Why?\n")
    code, _, told = cai("constitution", "lint", path)
    assert code == 2
    assert "critique_request but no revision_request" in told
    assert cai("constitution", "lint", path, "--on", tmp_path)[0] == 2

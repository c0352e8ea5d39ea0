from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.constitution import default_constitution, load_constitution

FORMS = ("critique_request", "revision_request", "comparison_question")


def test_every_default_principle_is_complete() -> None:
    c = default_constitution()
    assert len(c.principles) >= 18
    for p in c.principles:
        assert p.uses == ("critique", "comparison")
        assert p.source and p.tags
        for form in FORMS:
            text = getattr(p, form)
            assert text and text == text.strip() and "\n" not in text


def test_default_examples() -> None:
    few_shots = default_constitution().few_shots
    assert (len(few_shots.critique_revision), len(few_shots.comparison)) == (5, 5)
    # One of them shows that a reply with nothing wrong is left alone.
    unchanged = [e for e in few_shots.critique_revision if e.turns[-1].text == e.turns[-5].text]
    assert len(unchanged) == 1


def test_default_is_loaded_by_name() -> None:
    assert load_constitution("default") is default_constitution()
    assert default_constitution().name == "default"


def _runs(text: str, length: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z']+", text.lower())
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def test_default_is_in_our_own_words(official: Path) -> None:
    """No eight words in a row are those of an official file."""
    theirs: set[tuple[str, ...]] = set()
    for path in official.glob("*.json"):
        theirs |= _runs(path.read_text(encoding="utf-8").replace("\\n", " "), 8)
    c = default_constitution()
    texts = [getattr(p, form) for p in c.principles for form in ("text", *FORMS)]
    texts += [t.text for e in c.few_shots.critique_revision for t in e.turns]
    texts += [t for e in c.few_shots.comparison for t in (e.better, e.worse)]
    assert theirs
    assert not [run for text in texts for run in _runs(text, 8) & theirs]


@pytest.mark.parametrize("command", ["check", "show", "lint"])
def test_constitutions_that_ship_are_read_by_name(
    cai: Callable[..., tuple[int, str, str]], command: str
) -> None:
    code, shown, told = cai("constitution", command, "microworld:constitution.yaml")
    assert (code, told) == (0, "")
    assert "microworld" in shown
    code, _, told = cai("constitution", command, "microworld:constitutoin.yaml")
    assert code == 2
    assert "did you mean 'constitution.yaml'" in told

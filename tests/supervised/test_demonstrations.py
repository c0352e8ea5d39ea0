from __future__ import annotations

import json
from pathlib import Path

import pytest

from constitutional.errors import PromptFileError
from constitutional.microworld import data_file
from constitutional.microworld.oracle import Oracle
from constitutional.supervised.demonstrations import read_demonstrations


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_form_ends_in_the_answer(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    path = write(
        tmp_path / "shown.jsonl",
        {"messages": messages},
        {"transcript": "\n\nHuman: Why?\n\nAssistant: So."},
        {"prompt": "Why?", "completion": " So.\n"},
    )
    found = read_demonstrations(path).conversations
    assert len(set(found)) == 1, "three forms of one demonstration"
    assert [(turn.role, turn.text) for turn in found[0].turns] == [
        ("human", "Why?"),
        ("assistant", "So."),
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [{"role": "user", "content": "Why?"}]}, "ends in the assistant's answer"),
        ({"prompt": "Why?", "completion": "  "}, "ends in the assistant's answer"),
        ({"prompt": "Why?", "completion": 3}, "'completion' must be a text"),
        ({"prompt": "Why?"}, "a pair 'prompt' and 'completion'"),
        ("Why?", "expected a JSON object"),
    ],
)
def test_a_row_without_an_answer_is_refused_with_its_line(
    tmp_path: Path, row: object, says: str
) -> None:
    path = write(tmp_path / "shown.jsonl", {"prompt": "Why?", "completion": "So."}, row)
    with pytest.raises(PromptFileError, match=says) as caught:
        read_demonstrations(path)
    assert caught.value.line == 2


def test_the_microworld_shows_nothing_but_right_help() -> None:
    found = read_demonstrations(data_file("prompts/demonstrations.jsonl")).conversations
    assert len(found) > 500
    for shown in found:
        prompt = shown.model_copy(update={"turns": shown.turns[:-1]})
        verdict = Oracle().judge(prompt, shown.last.text)
        assert (verdict.behaviour, verdict.harmful_request) == ("helps", False)

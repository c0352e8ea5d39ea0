"""What a file or a model says is shown in the terminal, and never obeyed by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Cai = Callable[..., tuple[int, str, str]]
#: Clears the screen, sets the clipboard, links elsewhere, colours, goes back, turns the text round.
COMMANDS = (
    "\x1b[2J\x1b]52;c;eHh4\x07\x1b]8;;http://evil.example\x07x\x1b]8;;\x07"
    "\x9b31m\x08\x7f\u202e\u061c\U000e0041[bold]x[/link]\x00"
)


def harmless(*said: str) -> bool:
    return all(char.isprintable() or char in "\n\r" for text in said for char in text)


def test_answers_that_a_monitor_shows(cai: Cai, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{n}", "response": "I'm sorry, I can't talk about that.\x1b[2J"}
        for n in range(40)
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, shown, told = cai("monitor", path)
    assert code == 0, told
    assert "?" in shown, "an answer stands among the examples"
    assert harmless(shown, told)


@pytest.mark.parametrize("words", [("constitution", "show"), ("constitution", "check")])
def test_a_constitution(cai: Cai, tmp_path: Path, words: tuple[str, str]) -> None:
    text = COMMANDS.replace("\x00", "").replace("\x7f", "").replace("\x08", "")
    principle = {"id": "kind", "text": f"Be kind. {text}", "comparison_question": "Which is kind?"}
    path = tmp_path / "constitution.yaml"
    path.write_text(yaml.safe_dump({"name": f"[/x] {text}", "principles": [principle]}))
    _, shown, told = cai(*words, path)
    assert shown or told
    assert harmless(shown, told)


def test_an_error_that_quotes_a_file(cai: Cai, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({COMMANDS: 1}) + "\n")
    odd = tmp_path / f"{COMMANDS.replace('/', '').replace(chr(0), '')}.yaml"
    for words in (("run", odd), ("monitor", path), ("show", odd)):
        code, shown, told = cai(*words)
        assert code == 2
        assert told.startswith("cai: ")
        assert harmless(shown, told)

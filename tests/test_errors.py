"""Errors that come from another process by a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from constitutional import errors
from constitutional.errors import ConstitutionalError, InputError, as_json, from_json


@pytest.mark.parametrize(
    "error",
    [
        errors.RunFolderError("it is full"),
        errors.PromptFileError("no text", path=Path("prompts.jsonl"), line=3),
        errors.MissingExtraError("ray", "ray", "a cluster"),
    ],
)
def test_an_error_comes_back_with_its_kind_and_sentence(error: ConstitutionalError) -> None:
    back = from_json(as_json(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    if isinstance(back, InputError):
        assert back.reason == str(error)


@pytest.mark.parametrize("kind", ["SystemExit", "os.system", "KeyError"])
def test_a_kind_that_is_none_of_ours_is_only_a_sentence(kind: str) -> None:
    back = from_json(json.dumps({"kind": kind, "message": "rm -rf"}))
    assert type(back) is ConstitutionalError
    assert str(back) == "rm -rf"


def test_a_message_shows_every_character_that_would_not_be_seen() -> None:
    every = [chr(code) for code in range(0x110000)]
    seen = "".join(char for char in every if char.isprintable())
    assert errors.in_sight(seen) == seen
    unseen = "".join(char for char in every if not char.isprintable())
    shown = errors.in_sight(unseen)
    assert shown.isprintable()
    assert shown.encode().decode("unicode_escape") == unseen


@pytest.mark.parametrize("char", ["\n", "\x1b", "\u061c", "\xa0", "\u180e", "\ud800"])
def test_an_unseen_character_of_a_message_is_an_escape(char: str) -> None:
    error = InputError(f"Grüße 🙂{char}.", path=f"a{char}.yaml")
    escape = char.encode("unicode_escape").decode()
    assert str(error) == f"a{escape}.yaml: Grüße 🙂{escape}."
    assert error.reason == f"Grüße 🙂{escape}."


def test_a_sentence_from_another_process_is_escaped_and_not_cut_again() -> None:
    told = as_json(InputError("x" * 5000, path="a.yaml"))
    assert str(from_json(told)) == json.loads(told)["message"]
    hostile = json.dumps({"kind": "InputError", "message": "\x1b[2J\u061c"})
    assert str(from_json(hostile)) == r"\x1b[2J\u061c"

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

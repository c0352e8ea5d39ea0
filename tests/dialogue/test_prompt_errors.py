"""Prompt sets: every way in which a file or a row can be wrong, and what is said of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from constitutional.dialogue import Conversation, prompt_files, prompt_id
from constitutional.dialogue.prompts import PromptSet, load_prompts
from constitutional.errors import PromptFileError

DIALOGUE = "\n\nHuman: a\n\nAssistant: b"


def write(path: Path, *rows: object) -> Path:
    """JSON lines; a row that is a text is written as it stands."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> PromptSet:
    return load_prompts(path, kind="red_team", **options)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "expected one JSON object a line"),
        ("[" * 100_000, "expected one JSON object a line"),
        ("[1, 2]", "expected a JSON object with a key 'prompt'.*found a list"),
        ("null", "found nothing"),
        ({}, "found no key"),
        ({"promt": "a"}, "found the key 'promt': did you mean 'prompt'"),
        ({"question": "a"}, "found 'question': rename the key"),
        ({"chosen": DIALOGUE}, "only one side of the pair"),
        ({"prompt": ""}, "'prompt' is empty"),
        ({"prompt": " \n"}, "'prompt' is empty"),
        ({"prompt": None}, r"must be a text or a list of messages.*nothing \(null\)"),
        ({"prompt": 3}, "found '3'"),
        ({"prompt": "\n\nHuman: a\n\nAssistant: b"}, "ends in an answer of the assistant"),
        ({"prompt": "\n\nHuman: \n\nAssistant:"}, "last human turn of 'prompt' is empty"),
        ({"prompt": "\n\nAssistant:"}, "ends in an answer"),
        ({"prompt": "half \ud83d"}, "half a character"),
        ({"prompt": "a", "id": "\udc00"}, "'id' holds half a character"),
        ({"prompt": "a", "id": ["x"]}, "'id' must be a text or a whole number"),
        ({"prompt": "a", "tags": {"x": 1}}, "'tags' must be a list of texts"),
        ({"transcript": "Hello"}, "'transcript' must begin with 'Human:'.*'Hello'"),
        ({"transcript": None}, "'transcript' must be a text"),
        ({"transcript": "\n\nHuman: \n\nAssistant: b"}, "no human turn with a text"),
        ({"chosen": DIALOGUE, "rejected": "x"}, "'rejected' must begin"),
        ({"messages": []}, "'messages' must be"),
        ({"messages": ["hi"]}, "message 1 of 'messages' must be an object"),
        ({"messages": [{"role": "system", "content": "s"}]}, "system message"),
        ({"messages": [{"role": "tool", "content": "s"}]}, "role 'tool'"),
        ({"messages": [{"role": "user", "content": None}]}, "'content' of message 1"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "messages 1 and 2.*human"),
        ({"conversation": {"turns": []}}, "must end in a human turn"),
        ({"conversation": {"turns": [{"role": "human"}]}}, "no record of ours: turns.0.text"),
        ({"conversation": {"turns": [{"role": "human", "text": "a"}]}, "kind": 3}, "'kind' must"),
    ],
)
def test_malformed_rows(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "good"}, row, {"prompt": "too"})
    with pytest.raises(PromptFileError, match=r"p\.jsonl, line 2: .*" + message) as caught:
        load(path)
    assert caught.value.line == 2
    prompts = load(path, skip_bad_to=tmp_path / "aside" / "bad.jsonl")
    assert (len(prompts), prompts.read, prompts.bad) == (2, 3, 1)
    aside = json.loads((tmp_path / "aside" / "bad.jsonl").read_text())
    assert aside["text"] == path.read_text(encoding="utf-8").split("\n")[1]
    assert (aside["file"], aside["line"]) == ("p.jsonl", 2) and aside["reason"]


def test_bytes_that_are_no_utf8_are_set_aside_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(b"good\n\xff\xfe bad\n")
    with pytest.raises(PromptFileError, match=r"line 2: byte 1 of the line is not UTF-8"):
        load(path)
    bad = tmp_path / "bad.jsonl"
    assert load(path, skip_bad_to=bad).bad == 1
    text: str = json.loads(bad.read_text())["text"]
    assert text.encode("utf-8", "surrogateescape") == b"\xff\xfe bad"
    (tmp_path / "p.csv").write_bytes(b"prompt\n\xff\n")
    with pytest.raises(PromptFileError, match="UTF-8"):
        load(tmp_path / "p.csv")


def test_long_lines_are_refused_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_files, "MAX_LINE_BYTES", 2000)
    path = write(tmp_path / "p.jsonl", {"prompt": "x" * 9000}, {"prompt": "y" * 1900})
    with pytest.raises(PromptFileError, match="line 1: the line is longer"):
        load(path)
    bad = tmp_path / "bad.jsonl"
    prompts = load(path, skip_bad_to=bad)
    assert [r.conversation.last.text for r in prompts] == ["y" * 1900]
    assert json.loads(bad.read_text())["text"] == ('{"prompt": "' + "x" * 988)


def test_items_of_a_list_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('["a", ""]')
    with pytest.raises(PromptFileError, match=r"p\.json: item 2: "):
        load(path)
    path.write_text('["a",\n oops]')
    with pytest.raises(PromptFileError, match=r"p\.json, line 2: no valid JSON"):
        load(path)
    path.write_text("[]")
    with pytest.raises(PromptFileError, match="no prompt found"):
        load(path)


@pytest.mark.parametrize("name", ["p.jsonl", "p.json", "p.csv", "p.txt", "p.jsonl.gz", "p"])
def test_empty_files(tmp_path: Path, name: str) -> None:
    for content in ("", "\n \n"):
        (tmp_path / name).write_text(content)
        with pytest.raises(PromptFileError, match="the file is empty"):
            load(tmp_path / name)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "head.csv").write_text("prompt\n")
    with pytest.raises(PromptFileError, match="no prompt found in 0 rows"):
        load(tmp_path / "head.csv")
    (tmp_path / "p.docx").write_text("Dear model")
    with pytest.raises(PromptFileError, match=r"unknown form '.docx': expected JSON lines"):
        load(tmp_path / "p.docx")
    write(tmp_path / "p.txt", {"prompt": "a"})
    with pytest.raises(PromptFileError, match=r"holds JSON lines: name it \.jsonl"):
        load(tmp_path / "p.txt")
    whole = gzip.compress(b'{"prompt": "a"}\n' * 100)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(PromptFileError, match="gzip data is damaged"):
        load(tmp_path / "cut.jsonl.gz")
    all_bad = write(tmp_path / "bad.jsonl", "x", "y")
    with pytest.raises(PromptFileError, match="all 2 rows are malformed"):
        load(all_bad, skip_bad_to=tmp_path / "aside.jsonl")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "red_team.jsonl", {"prompt": "a"})
    with pytest.raises(PromptFileError, match=r"no such file; did you mean 'red_team\.jsonl'"):
        load(tmp_path / "redteam.jsonl")
    with pytest.raises(PromptFileError, match="there is no folder"):
        load(tmp_path / "nowhere" / "p.jsonl")


def test_bad_lines_never_overwrite_the_prompts(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "a"})
    with pytest.raises(PromptFileError, match="prompt file itself"):
        load(path, skip_bad_to=tmp_path / "." / "p.jsonl")
    assert path.read_text() == '{"prompt": "a"}\n'
    with pytest.raises(PromptFileError, match="cannot be set aside here"):
        load(path, skip_bad_to=tmp_path)


def test_an_id_that_another_prompt_would_get_is_refused(tmp_path: Path) -> None:
    """The second prompt brings no id, and its own is taken."""
    taken = {"prompt": "one", "id": prompt_id(Conversation.of("two"))}
    path = write(tmp_path / "p.jsonl", taken, {"prompt": "two"})
    with pytest.raises(PromptFileError, match=r"p\.jsonl, line 2: the id .* is that of another"):
        load(path)

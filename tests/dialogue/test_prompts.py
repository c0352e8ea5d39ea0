"""Prompt sets: every form that is read; what is refused stands in test_prompt_errors."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.prompts import (
    PromptRecord,
    PromptSet,
    load_prompts,
    prompt_id,
    splits_overlap,
)
from constitutional.dialogue.transcript import render
from constitutional.errors import MissingExtraError, PromptFileError

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
PAIRS = sorted(DATA.glob("hh-rlhf/*.jsonl.gz"))
SAMPLES = sorted(DATA.glob("official/samples/*_SLMADISON.jsonl"))

TWO_TURNS = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"


def write(path: Path, *rows: object) -> Path:
    """JSON lines; a row that is a text is written as it stands."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> PromptSet:
    return load_prompts(path, kind="red_team", **options)


def transcripts(prompts: PromptSet) -> list[str]:
    return [render(record.conversation) for record in prompts]


# --- forms of a row ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": " a "}, ["\n\nHuman:  a "]),
        ('"a"', ["\n\nHuman: a"]),
        ({"prompt": "Human: a"}, ["\n\nHuman: Human: a"]),
        ({"prompt": "\n\nHuman: a\n\nAssistant:"}, ["\n\nHuman: a"]),
        ({"prompt": "Human: a\n\nAssistant:"}, ["\n\nHuman: a"]),
        ({"prompt": TWO_TURNS.removesuffix(" d")}, [TWO_TURNS.removesuffix("\n\nAssistant: d")]),
        ({"prompt": [{"role": "user", "content": "a"}]}, ["\n\nHuman: a"]),
        ({"rl_prompt": "\n\nHuman: a\n\nAssistant:", "cst": []}, ["\n\nHuman: a"]),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b"},
                    {"role": "user", "content": "c"},
                ]
            },
            ["\n\nHuman: a\n\nAssistant: b\n\nHuman: c"],
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b"},
                    {"role": "user", "content": "c"},
                    {"role": "assistant", "content": "d"},
                ]
            },
            ["\n\nHuman: a", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"],
        ),
        ({"conversation": {"turns": [{"role": "human", "text": "a"}]}}, ["\n\nHuman: a"]),
        (
            {"transcript": TWO_TURNS, "rating": 4, "tags": None},
            ["\n\nHuman: a", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"],
        ),
        (
            {"chosen": TWO_TURNS, "rejected": TWO_TURNS.replace(" d", " e")},
            ["\n\nHuman: a", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"],
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": TWO_TURNS},
            ["\n\nHuman: a", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"],
        ),
    ],
)
def test_rows(tmp_path: Path, row: object, expected: list[str]) -> None:
    prompts = load(write(tmp_path / "p.jsonl", row))
    assert transcripts(prompts) == expected
    assert (prompts.read, prompts.bad, prompts.duplicates) == (1, 0, 0)


@pytest.mark.parametrize(
    ("transcript", "expected"),
    [
        # no blank after a marker: the text is kept, and the rendering puts the blank
        ("\n\nHuman:a\n\nAssistant:b", ["\n\nHuman: a"]),
        # a marker inside a line is text
        (
            "\n\nHuman: a Assistant: b\n\nAssistant: Human: x",
            ["\n\nHuman: a Assistant: b"],
        ),
        # other markers of the method are text in a dialogue
        (
            "\n\nHuman: edit\n\nRevision: two\n\nAssistant: b",
            ["\n\nHuman: edit\n\n\\Revision: two"],
        ),
        # an empty answer stays a turn
        (
            "\n\nHuman: a\n\nAssistant: \n\nHuman: c\n\nAssistant: ",
            ["\n\nHuman: a", "\n\nHuman: a\n\nAssistant: \n\nHuman: c"],
        ),
        # two turns of one speaker are one turn, whose second marker is a text's
        ("\n\nHuman: a\n\nHuman:  b\n\nAssistant: c", ["\n\nHuman: a\n\n\\Human:  b"]),
        (
            "\n\nHuman: a\n\nAssistant: b\n\nAssistant:  c\n\nHuman: d",
            ["\n\nHuman: a", "\n\nHuman: a\n\nAssistant: b\n\n\\Assistant:  c\n\nHuman: d"],
        ),
        ("\n\nHuman: a\x00\u2028b\r\n \n\nAssistant: c", ["\n\nHuman: a\x00\u2028b\r\n "]),
    ],
)
def test_odd_transcripts(tmp_path: Path, transcript: str, expected: list[str]) -> None:
    prompts = load(write(tmp_path / "p.jsonl", {"transcript": transcript}))
    assert transcripts(prompts) == expected
    for record in prompts:
        roles = [turn.role for turn in record.conversation.turns]
        assert all(a != b for a, b in pairwise(roles))


def test_an_empty_human_turn_is_counted_and_is_no_prompt(tmp_path: Path) -> None:
    text = "\n\nHuman: \n\nAssistant: b\n\nHuman: c\n\nAssistant: d"
    prompts = load(write(tmp_path / "p.jsonl", {"transcript": text}))
    assert transcripts(prompts) == ["\n\nHuman: \n\nAssistant: b\n\nHuman: c"]
    assert prompts.empty_turns == 1


def test_ids_sources_kinds_and_tags(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        {"prompt": "a"},
        {"prompt": "b", "id": 7, "tags": ["x", "y"]},
        {"transcript": TWO_TURNS, "id": "t"},
    )
    first, second, *several = load(path).records
    assert first.id == prompt_id(Conversation.of("a")) and len(first.id) == 16
    assert first.id == "122327fb10638c57"  # sha256sum of the bytes "\n\nHuman: a"
    assert (second.id, second.tags) == ("7", ("x", "y"))
    assert [record.id for record in several] == ["t-2"]  # t-1 is the prompt "a" once more
    assert {(record.source, record.kind) for record in (first, second)} == {("p.jsonl", "red_team")}


def test_own_records_are_read_back_as_they_were(tmp_path: Path) -> None:
    before = load(write(tmp_path / "p.jsonl", {"prompt": "a", "id": "x", "tags": ["t"]})).records
    path = write(tmp_path / "saved.jsonl", *(record.model_dump_json() for record in before))
    assert list(load(path).records) == list(before)
    with pytest.raises(PromptFileError, match="of kind 'red_team', but 'helpful'"):
        load_prompts(path, kind="helpful")


def test_a_record_ends_in_a_human_turn() -> None:
    with pytest.raises(ValidationError, match="human turn"):
        PromptRecord(id="x", conversation=Conversation.of("a", "b"), kind="helpful", source="s")


# --- forms of a file ---------------------------------------------------------------------------


def test_every_form_gives_the_same_prompts(tmp_path: Path) -> None:
    texts = ["first, with a comma", 'second "quoted"', "third 日本\u2028x"]
    rows = [{"prompt": text} for text in texts]
    write(tmp_path / "p.jsonl", *rows)
    with gzip.open(tmp_path / "p.jsonl.gz", "wt", encoding="utf-8") as packed:
        packed.write((tmp_path / "p.jsonl").read_text(encoding="utf-8"))
    (tmp_path / "objects.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    write(tmp_path / "lines.json", *rows)
    write(tmp_path / "noextension", *rows)
    (tmp_path / "p.txt").write_bytes("\ufeff{}\r\n\n{}\n{}".format(*texts).encode())
    with (tmp_path / "p.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["id", "prompt"], *enumerate(texts)])
    for path in sorted(tmp_path.iterdir()):
        prompts = load(path)
        assert [r.conversation.last.text for r in prompts] == texts, path.name
        assert prompts.read == 3 and {r.source for r in prompts} == {path.name}


def test_csv_with_line_breaks_and_a_named_column(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('n,ask\n1,"two\nlines"\n2,one\n3,\n', encoding="utf-8")
    with pytest.raises(PromptFileError, match=r"p\.csv, line 5: 'ask' is empty"):
        load(path, column="ask")
    prompts = load(path, column="ask", limit=2)
    assert [r.conversation.last.text for r in prompts] == ["two\nlines", "one"]
    with pytest.raises(PromptFileError, match=r"line 2: no column 'asks': did you mean 'ask'\?"):
        load(path, column="asks")
    with pytest.raises(PromptFileError, match=r"found 'n', 'ask'.*name it as the column"):
        load(path)


@pytest.mark.parametrize(("line", "problem"), [("1,a,b", "more"), ("1", "fewer")])
def test_csv_rows_of_another_length(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"id,prompt\n{line}\n", encoding="utf-8")
    with pytest.raises(PromptFileError, match=f"line 2: expected 2 columns, found {problem}"):
        load(path)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "p.parquet"
    parquet.write_table(pyarrow.table({"prompt": ["a", "b"], "ask": ["c", None]}), path)
    assert transcripts(load(path)) == ["\n\nHuman: a", "\n\nHuman: b"]
    with pytest.raises(PromptFileError, match="row 2: 'ask' must be a text or a list of messages"):
        load(path, column="ask")
    pairs = tmp_path / "pairs.parquet"
    parquet.write_table(pyarrow.table({"chosen": [TWO_TURNS], "rejected": [TWO_TURNS]}), pairs)
    assert len(load(pairs)) == 2
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(PromptFileError, match="no valid Parquet"):
        load(path)
    path.write_bytes(b"text")
    with pytest.raises(PromptFileError, match="holds no Parquet"):
        load(path)


def test_a_folder_is_read_with_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    saved = datasets.Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}])
    saved.save_to_disk(str(tmp_path / "saved"))
    assert len(load(tmp_path / "saved")) == 2
    datasets.DatasetDict({"train": saved}).save_to_disk(str(tmp_path / "splits"))
    assert len(load(tmp_path / "splits")) == 2
    files = tmp_path / "files"
    files.mkdir()
    write(files / "train.jsonl", {"messages": [{"role": "user", "content": "a"}]})
    assert transcripts(load(files)) == ["\n\nHuman: a"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(PromptFileError, match="from this folder"):
        load(tmp_path / "nothing")


def test_a_data_set_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def offline(name: str, split: str) -> None:
        assert (name, split) == ("someone/prompts", "test")
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(PromptFileError) as caught:
        load_prompts("someone/prompts:test", kind="helpful")
    assert "no file of this name" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "spec"), [("datasets", "someone/prompts"), ("pyarrow.parquet", "p.parquet")]
)
def test_missing_extras_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, spec: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"constitutional\[data\]"):
        load_prompts(spec, kind="helpful")


# --- counting ----------------------------------------------------------------------------------


def test_duplicates_are_kept_once_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "a"}, {"prompt": "\n\nHuman: a"}, {"prompt": "b"})
    prompts = load(path)
    assert (len(prompts), prompts.read, prompts.duplicates) == (2, 3, 1)


def test_two_prompts_cannot_share_an_id(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "a", "id": "x"}, {"prompt": "b", "id": "x"})
    with pytest.raises(PromptFileError, match="line 2: the id 'x' is that of another prompt"):
        load(path)


def test_limit_ends_the_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"transcript": TWO_TURNS}, {"prompt": "z"}, "never read")
    assert transcripts(load(path, limit=1)) == ["\n\nHuman: a"]
    assert load(path, limit=3).read == 2
    with pytest.raises(ValueError, match="limit"):
        load(path, limit=0)


def test_overlap_goes_by_what_is_said(tmp_path: Path) -> None:
    a = load(write(tmp_path / "a.jsonl", {"prompt": "a", "id": "1"}, {"prompt": "b"}))
    b = load(write(tmp_path / "b.jsonl", {"prompt": "c"}, {"prompt": "a"}))
    assert splits_overlap(a, (record.conversation for record in b)) == ("1",)
    assert splits_overlap(a, []) == ()


# --- the published files -----------------------------------------------------------------------


@pytest.mark.skipif(not PAIRS, reason="no hh-rlhf sample beside the repository")
def test_hh_rlhf_prompts_keep_the_bytes_of_the_file() -> None:
    with gzip.open(PAIRS[0], "rt", encoding="utf-8") as file:
        texts = [text for line in file for text in json.loads(line).values()]
    prompts = load(PAIRS[0])
    held = "\0".join(texts)
    # but for the backslash before a marker that stands within a turn
    shown = [text.replace("\n\n\\", "\n\n") for text in transcripts(prompts)]
    assert all(f"{text}\n\nAssistant:" in held for text in shown)
    assert prompts.read * 2 == len(texts) and prompts.bad == 0
    assert len(prompts) > prompts.read


@pytest.mark.skipif(not SAMPLES, reason="no official samples beside the repository")
def test_official_samples_keep_the_bytes_of_the_file() -> None:
    for path in SAMPLES:
        rows = [json.loads(line) for line in path.open(encoding="utf-8")]
        prompts = load_prompts(path, kind="helpful")
        # one prompt of the paper's imitates three turns, whose markers are quoted
        shown = [text.replace("\n\n\\", "\n\n") for text in transcripts(prompts)]
        assert [f"{t}\n\nAssistant:" for t in shown] == [row["rl_prompt"] for row in rows]

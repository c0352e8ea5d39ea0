"""Archives, files that grow, ids and prompts that occur twice: one sentence, and nothing opened."""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import json
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import constitutional
from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation, prompt_files
from constitutional.dialogue.prompts import load_prompts, splits_overlap
from constitutional.errors import ConstitutionalError, InputError
from constitutional.evaluation.votes import read_votes
from constitutional.inputs.splits import note_of_overlap, refuse_ids_twice
from constitutional.preference.data import read_comparisons
from constitutional.preference.ranked import read_ranked
from constitutional.recipe import load_recipe

TEXT = b'{"prompt": "How do I sink a boat?"}\n'


@cache
def a_zip() -> bytes:
    """Of a text and of a bomb: ten million zeros in ten kilobytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("prompts.jsonl", TEXT)
        archive.writestr("bomb", b"\0" * 10_000_000)
    return file.getvalue()


@cache
def a_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("prompts.jsonl")
        entry.size = len(TEXT)
        archive.addfile(entry, io.BytesIO(TEXT))
    return file.getvalue()


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "zip": a_zip,
    "tar": a_tar,
    "tar in gzip": lambda: gzip.compress(a_tar()),
    "zip in gzip": lambda: gzip.compress(a_zip()),
    "bzip2": lambda: bz2.compress(TEXT),
    "xz": lambda: lzma.compress(TEXT),
    "zstd": lambda: b"\x28\xb5\x2f\xfd" + bytes(20),
    "7z": lambda: b"7z\xbc\xaf\x27\x1c" + bytes(20),
}
READERS: dict[str, Callable[[Path], object]] = {
    "prompts": lambda path: load_prompts(path, kind="red_team"),
    "comparisons": lambda path: read_comparisons(path, goal="harmlessness", seed=0),
    "votes": lambda path: read_votes([path]),
    "constitution": load_constitution,
    "recipe": load_recipe,
}


@pytest.mark.parametrize("suffix", ["", ".jsonl", ".csv"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_refused_in_a_sentence(
    kind: str, reader: str, suffix: str, tmp_path: Path
) -> None:
    file = tmp_path / f"x{suffix}"
    file.write_bytes(ARCHIVES[kind]())
    with pytest.raises(ConstitutionalError, match="which is not opened: unpack it"):
        READERS[reader](file)


def test_one_file_in_gzip_is_no_archive_for_prompts_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl.gz"
    file.write_bytes(gzip.compress(TEXT))
    assert len(load_prompts(file, kind="red_team")) == 1
    with pytest.raises(ConstitutionalError, match="packed by gzip, which is not opened"):
        load_constitution(file)


@pytest.mark.parametrize("form", [".jsonl.gz", ".json.gz", ".csv.gz", ".txt.gz"])
def test_a_bomb_in_gzip_is_refused_within_little_memory(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_files, "MAX_LINE_BYTES", 1_000_000)
    file = tmp_path / f"x{form}"
    head = b"prompt\n" if form.startswith(".csv") else b""
    file.write_bytes(gzip.compress(head + b"x" * 30_000_000, 1))
    tracemalloc.start()
    try:
        with pytest.raises(ConstitutionalError):
            load_prompts(file, kind="red_team")
        assert tracemalloc.get_traced_memory()[1] < 15e6
    finally:
        tracemalloc.stop()


ALIASES = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(20))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ALIASES, "anchors"),
        ("name: " + "[" * 100_000, "nested more than"),
        ("name: " + "{a: " * 100_000, "nested more than"),
        ("a:\n" * 3 + "".join(" " * n + "b:\n" for n in range(60)), "nested more than"),
        ("name: !!python/object/apply:os.system [id]\n", "tags"),
        ("name: !<tag:yaml.org,2002:binary> eA==\n", "tags"),
        ("name: a\nname: b\n", "twice"),
        ("name: a\n---\nname: b\n", "second"),
        ("name: " + "9" * 5000 + "\n", "must be text|'name'"),
        ("name: x\n" + "#" * 2**21, "larger than"),
    ],
    ids=["aliases", "lists", "maps", "blocks", "object", "binary", "key", "two", "digits", "huge"],
)
def test_yaml_has_limits(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConstitutionalError, match=says):
        load_recipe(file)
    file.write_text(f"description: x\n{text}")  # without a key of ours it would be plain text
    with pytest.raises(ConstitutionalError, match=says):
        load_constitution(file)


JSONS = {
    "lists": "[" * 200_000,
    "objects": '{"a":' * 200_000,
    "digits": "9" * 5000,
    "NaN": "NaN",
    "infinity": '{"a": 1e999}',
}


@pytest.mark.parametrize("text", JSONS.values(), ids=JSONS)
@pytest.mark.parametrize("reader", ["prompts", "comparisons", "votes", "constitution"])
def test_json_has_limits(reader: str, text: str, tmp_path: Path) -> None:
    for suffix in (".json", ".jsonl"):
        file = tmp_path / f"x{suffix}"
        file.write_text(f"{text}\n")
        if reader == "constitution" and text[0] not in "[{":
            continue  # it is a principle in plain text
        with pytest.raises(ConstitutionalError):
            READERS[reader](file)


# What occurs twice


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_an_id_of_two_comparisons_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = [{"id": "c", "prompt": "x", "chosen": f"a{n}", "rejected": "b"} for n in range(2)]
    file = lines(tmp_path / "x.jsonl", *rows)
    with pytest.raises(InputError, match="line 2: the id 'c' is that of another row above"):
        read_comparisons(file, goal="harmlessness", seed=0)


def test_an_id_of_two_questions_is_refused_with_both_rows(tmp_path: Path) -> None:
    answers = [{"text": "a", "score": 1}, {"text": "b", "score": 2}]
    rows = [{"id": "q", "prompt": f"x{n}", "answers": answers} for n in range(2)]
    file = lines(tmp_path / "x.jsonl", *rows)
    with pytest.raises(InputError, match="line 2: the id 'q' is that of row 1 too"):
        read_ranked(file)


def test_an_id_in_two_sets_of_an_evaluation_is_refused(tmp_path: Path) -> None:
    red = load_prompts(lines(tmp_path / "r.jsonl", {"id": "p", "prompt": "a"}), kind="red_team")
    helpful = load_prompts(lines(tmp_path / "h.jsonl", {"id": "p", "prompt": "b"}), kind="helpful")
    refuse_ids_twice("evaluation", [red.records, red.records])  # the same prompt is no other one
    with pytest.raises(InputError, match="evaluation: the id 'p' is that of another prompt in"):
        refuse_ids_twice("evaluation", [red.records, helpful.records])


def test_a_prompt_in_training_and_evaluation_is_told_by_its_words(tmp_path: Path) -> None:
    rows = [{"id": f"p{n}", "prompt": f"Is moss {n}  Alive?"} for n in range(8)]
    judged = load_prompts(lines(tmp_path / "j.jsonl", *rows), kind="helpful").records
    trained = [Conversation.of(f"is moss {n} \uff21LIVE?") for n in range(1, 8)]
    assert splits_overlap(judged, trained) == tuple(f"p{n}" for n in range(1, 8))
    assert note_of_overlap(judged, trained) == (
        "7 evaluation prompts are also trained on (p1, p2, p3, p4, p5 and 2 more): "
        "figures on them say nothing of new prompts"
    )
    assert note_of_overlap(judged, [Conversation.of("Is moss green?")]) is None


# Tables


def test_nothing_of_ours_writes_a_table_that_a_spreadsheet_opens() -> None:
    """A cell that begins with = would be a formula there: who adds a writer has to defuse it."""
    writers = {"csv.writer", "csv.DictWriter", "to_csv", "to_excel", "write_csv"}
    found = [
        f"{path.name}:{node.lineno}"
        for path in Path(constitutional.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and not {node.attr, ast.unparse(node)}.isdisjoint(writers)
    ]
    assert not found

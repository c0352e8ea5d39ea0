from __future__ import annotations

import json
import math
import os
import pickle
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from constitutional.errors import RunFolderError
from constitutional.runs import Chosen, Journal, Recovered, read_records
from constitutional.runs.spare import drop

FILES = ("records.jsonl", "blocks.jsonl")


class Note(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    score: float | None = None
    parts: tuple[str, ...] = ()


NOTES = [Note(text=f"é {n}\n", score=n / 7, parts=("a",) * (n % 3)) for n in range(7)]
BLOCKS = [NOTES[:3], NOTES[3:6], NOTES[6:]]


def write_rest(folder: Path) -> Recovered:
    """Open the journal in ``folder`` and go on to its end."""
    with Journal(folder, Note) as journal:
        assert list(journal) == NOTES[: len(journal)]
        assert len(journal) == min(3 * journal.blocks_done, 7)
        for number in range(journal.blocks_done, len(BLOCKS)):
            if number in journal.spare:
                assert journal.spared(number) == BLOCKS[number]
            journal.append(BLOCKS[number])
        assert list(journal.read()) == NOTES
        drop(folder)
        return journal.recovered


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    write_rest(folder)
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of fsyncs on a busy disk take minutes."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def copy(whole: dict[str, bytes], tmp_path: Path) -> Iterator[Path]:
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    yield tmp_path
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == whole


def ends_of(data: bytes) -> list[int]:
    """Where blocks end in the records, from the sidecar's own text."""
    return [json.loads(line)["end"] for line in data.splitlines()]


def test_records_are_canonical_lines_and_the_sidecar_says_where_blocks_end(
    whole: dict[str, bytes],
) -> None:
    lines = whole["records.jsonl"].split(b"\n")
    assert lines[0] == '{"text":"é 0\\n","score":0.0,"parts":[]}'.encode()
    assert lines[7:] == [b""]
    ends = ends_of(whole["blocks.jsonl"])
    assert [whole["records.jsonl"][:end].count(b"\n") for end in ends] == [3, 6, 7]


def test_a_reopened_journal_is_as_it_was(copy: Path) -> None:
    assert write_rest(copy) == Recovered(kept=7, cut=0, reason=None)


@pytest.mark.parametrize("name", FILES)
def test_a_tail_cut_at_every_byte_leaves_whole_blocks(
    name: str, whole: dict[str, bytes], memory: Path
) -> None:
    ends = ends_of(whole["blocks.jsonl"])
    lengths = [len(line) + 1 for line in whole["blocks.jsonl"].splitlines()]
    marks = ends if name == "records.jsonl" else [sum(lengths[: n + 1]) for n in range(3)]
    for size in range(len(whole[name])):
        for other in FILES:
            data = whole[other]
            (memory / other).write_bytes(data[:size] if other == name else data)
        found = write_rest(memory)
        blocks = sum(mark <= size for mark in marks)
        assert found.kept == min(3 * blocks, 7)
        assert found.cut == 7 - found.kept
        assert found.reason is not None
        assert {each: (memory / each).read_bytes() for each in FILES} == whole


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_costs_its_block_alone(
    name: str, whole: dict[str, bytes], memory: Path
) -> None:
    ends = ends_of(whole["blocks.jsonl"])
    for place in range(len(whole[name])):
        for other in FILES:
            data = bytearray(whole[other])
            if other == name:
                data[place] ^= 1 << (place % 8)
            (memory / other).write_bytes(data)
        found = write_rest(memory)
        if name == "records.jsonl":
            assert found.kept == 7 - len(BLOCKS[sum(end <= place for end in ends)])
        elif whole[name][place] != ord("\n"):
            assert found.kept == 7 - len(BLOCKS[whole[name][:place].count(b"\n")])
        else:  # two lines are one, and no later line stands in its place
            assert found.kept == 3 * whole[name][:place].count(b"\n")
        assert found.reason is not None
        assert {each: (memory / each).read_bytes() for each in FILES} == whole


def test_lines_beyond_the_last_block_are_cut_and_counted(copy: Path) -> None:
    with (copy / "records.jsonl").open("ab") as stream:
        stream.write(b'{"text":"whole"}\n{"text":"ha')
    assert write_rest(copy) == Recovered(7, 2, "the last block was not finished")


def test_swapped_blocks_are_damage(whole: dict[str, bytes], copy: Path) -> None:
    first, second, third = whole["blocks.jsonl"].splitlines(keepends=True)
    (copy / "blocks.jsonl").write_bytes(second + first + third)
    assert write_rest(copy).kept == 1, "the third"


def test_half_a_sidecar_line_is_cut_also_behind_whole_records(
    copy: Path, whole: dict[str, bytes]
) -> None:
    (copy / "blocks.jsonl").write_bytes(whole["blocks.jsonl"] + b'{"blo')
    assert write_rest(copy) == Recovered(7, 0, "line 4 of blocks.jsonl is cut short")


def test_another_spelling_of_a_line_is_damage(copy: Path, whole: dict[str, bytes]) -> None:
    (copy / "blocks.jsonl").write_bytes(whole["blocks.jsonl"].replace(b":", b": "))
    assert write_rest(copy).reason == "line 1 of blocks.jsonl is damaged"


def test_opening_alone_cuts_both_files_to_whole_blocks(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    end = ends_of(whole["blocks.jsonl"])[0]
    (tmp_path / "records.jsonl").write_bytes(whole["records.jsonl"][: end + 5])
    (tmp_path / "blocks.jsonl").write_bytes(whole["blocks.jsonl"])
    with Journal(tmp_path, Note) as journal:
        found = journal.recovered
    assert found == Recovered(3, 4, "records.jsonl ends inside block 1")
    assert (tmp_path / "records.jsonl").read_bytes() == whole["records.jsonl"][:end]
    first_line = whole["blocks.jsonl"].splitlines(keepends=True)[0]
    assert (tmp_path / "blocks.jsonl").read_bytes() == first_line


def test_reading_beside_a_live_run_changes_nothing(copy: Path, whole: dict[str, bytes]) -> None:
    with (copy / "records.jsonl").open("ab") as stream:
        stream.write(b"half a rec")
    assert list(read_records(copy, Note)) == NOTES
    assert (copy / "records.jsonl").read_bytes() == whole["records.jsonl"] + b"half a rec"
    write_rest(copy)


def test_records_are_a_sequence(copy: Path) -> None:
    records = read_records(copy, Note)
    assert len(records) == 7
    assert records[2] == NOTES[2]
    assert records[-1] == NOTES[-1]
    assert records[1:6:2] == NOTES[1:6:2]
    with pytest.raises(IndexError):
        records[7]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(categories=None, exclude_categories=())), min_size=1),
    cut=st.integers(0),
)
def test_any_text_comes_back(
    texts: list[str], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    notes = [Note(text=text, parts=(text, text)) for text in texts]
    with Journal(folder, Note) as journal:
        journal.append(notes)
        back = [note.text for note in journal]
    # in JSON a high surrogate with a low one behind it is a character
    pairs = [t.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") for t in texts]
    assert back == pairs
    (folder / "records.jsonl").read_bytes().decode("utf-8", "strict")


def test_a_lone_surrogate_is_written_as_an_escape(tmp_path: Path) -> None:
    note = Note(text="a\ud800é", parts=("\udfff",))
    with Journal(tmp_path, Note) as journal:
        journal.append([note])
        assert journal.read()[0] == note
    line = (tmp_path / "records.jsonl").read_bytes()
    assert line == '{"text":"a\\ud800é","score":null,"parts":["\\udfff"]}\n'.encode()


class Hidden(Note):
    secret: int = Field(default=0, exclude=True)


class Number(BaseModel):
    score: float


class Other(BaseModel):
    weight: int


@pytest.mark.parametrize(
    "record", [Note(text="", score=math.nan), Hidden(text="", secret=1), Number(score=math.inf)]
)
def test_a_record_that_would_not_come_back_is_refused(record: BaseModel, tmp_path: Path) -> None:
    with Journal(tmp_path, type(record)) as journal:
        with pytest.raises(RunFolderError, match="cannot be stored"):
            journal.append([record])
        assert len(journal) == 0


def test_records_of_another_version_are_named_by_line(copy: Path) -> None:
    with pytest.raises(RunFolderError, match=r"records\.jsonl, line 1: holds no Other"):
        list(read_records(copy, Other))


def test_a_full_disk_is_one_sentence_and_leaves_whole_blocks(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    # The file-size limit stands in for a full disk: the write fails in its middle in the same way.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path, Note) as journal:
        journal.append(BLOCKS[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (ends_of(whole["blocks.jsonl"])[0] + 20, hard))
        try:
            with pytest.raises(RunFolderError, match="file-size limit is reached; finished work"):
                journal.append(BLOCKS[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(journal) == NOTES[:3]
        journal.append(BLOCKS[1])  # the same process can go on once there is room
    write_rest(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == whole


def test_chosen_records_are_read_when_gone_through(tmp_path: Path) -> None:
    """Records 1, 3 and 6 of the journal, and the second of a sequence behind it."""
    write_rest(tmp_path)
    behind = [Note(text="eight"), Note(text="nine")]
    chosen = Chosen((read_records(tmp_path, Note), behind), [1, 3, 6, 8])
    wanted = [NOTES[1], NOTES[3], NOTES[6], behind[1]]
    assert len(chosen) == 4
    assert list(chosen) == list(chosen) == wanted
    assert [chosen[n] for n in range(4)] == wanted
    assert list(chosen[1:3]) == wanted[1:3]
    assert chosen[-1] == behind[1]
    with pytest.raises(IndexError):
        chosen[4]
    sent = pickle.dumps(chosen)
    (tmp_path / "records.jsonl").unlink()  # another machine has no such file
    assert list(pickle.loads(sent)) == wanted

"""Blocks in Parquet: whole or not there, on any file system that fsspec knows."""

from __future__ import annotations

import pickle
import uuid
from pathlib import Path

import pytest

from constitutional.errors import RunFolderError
from constitutional.execution.parquet import BlockStore

# a lone surrogate is an escape in a canonical line, and a newline never stands inside one
LINES = [b'{"text":"\\ud800 \xc3\xa9"}\n', b'{"text":"two\\nlines"}\n']


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlockStore:
    if request.param == "folder":
        return BlockStore(str(tmp_path / "deep" / "store"))
    return BlockStore(f"memory://{uuid.uuid4().hex}/store/")


def test_what_is_written_is_read(store: BlockStore) -> None:
    assert store.there() == set()
    store.write(17, LINES)
    store.write(2, LINES[:1])
    again = pickle.loads(pickle.dumps(store))
    assert again.there() == {2, 17}
    assert again.has(17) and not again.has(3)
    assert again.read(17) == LINES
    assert again.read(2) == LINES[:1]


def test_a_block_reads_its_own_items(store: BlockStore) -> None:
    store.write_items([LINES, LINES[:1]])
    store.write_items([LINES[1:]])  # they are there
    assert store.read_items(0) == LINES
    assert store.read_items(1) == LINES[:1]
    assert store.there() == set(), "items are no finished block"


def test_tries_are_counted_until_they_are_forgotten(store: BlockStore) -> None:
    assert [store.count_try(4), store.count_try(4), store.count_try(5)] == [1, 2, 1]
    store.forget_tries()
    assert store.count_try(4) == 1
    assert store.there() == set()


def test_nothing_is_left_behind(store: BlockStore) -> None:
    store.write_items([LINES])
    store.write(0, LINES)
    store.count_try(0)
    store.remove()
    assert store.there() == set()
    assert not store.has(0)


def test_a_block_that_is_cut_off_is_not_there(store: BlockStore) -> None:
    with pytest.raises(KeyboardInterrupt), store._new("block-000000.parquet") as file:
        file.write(b"PAR1")
        raise KeyboardInterrupt
    assert store.there() == set()


def test_a_damaged_block_is_told_from_a_whole_one(tmp_path: Path) -> None:
    store = BlockStore(str(tmp_path))
    store.write(0, LINES)
    store.write(1, LINES)
    cut, changed = tmp_path / "block-000000.parquet", tmp_path / "block-000001.parquet"
    cut.write_bytes(cut.read_bytes()[:-20])
    # still a Parquet file, with another letter in a record
    changed.write_bytes(changed.read_bytes().replace(b"two", b"tWo"))
    assert store.read(0) is None
    assert store.read(1) is None


def test_a_place_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFolderError, match=r"ray\.storage"):
        BlockStore(str(tmp_path / "file" / "store")).write(0, LINES)
    with pytest.raises(RunFolderError, match="nosuchfs"):
        BlockStore("nosuchfs://bucket/folder").there()

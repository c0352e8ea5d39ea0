"""The log of answers beside a journal: what a session leaves, and what the next one finds."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from constitutional.errors import RunFolderError
from constitutional.runs.answers import ANSWERS, FAILURES, AnswerLog, read_failures
from constitutional.runs.records import Sample

SAMPLE = Sample(text="", ended="failed", tokens=0, seed=7, flags=("failed",))

#: Sessions that are not closed; what nobody holds would be.
KILLED: list[AbstractContextManager[None]] = []


def session(folder: Path, block: int = 0) -> tuple[AnswerLog, list[str]]:
    """A log as it is opened by a session; it is not closed, as after a kill."""
    told: list[str] = []
    log = AnswerLog()
    opened = log.during(folder, block, told.append)
    opened.__enter__()
    KILLED.append(opened)
    return log, told


def test_the_same_question_is_known_by_how_often_it_was_asked(tmp_path: Path) -> None:
    log, told = session(tmp_path)
    first, second = log.key("vote", {"b": 1, "a": 2}), log.key("vote", {"a": 2, "b": 1})
    assert first != second and not told
    log.put(first, {"text": "A"})
    log.put(second, {"text": "B"})
    again, told = session(tmp_path)
    assert [again.key("vote", {"a": 2, "b": 1}) for _ in range(2)] == [first, second]
    assert [kept.answer["text"] for kept in map(again.get, (first, second)) if kept] == ["A", "B"]
    assert "not asked for again: 2" in told[0]


def test_an_answer_is_counted_once_over_all_sessions(tmp_path: Path) -> None:
    log, _ = session(tmp_path)
    for name in ("a", "b"):
        log.put(log.key(name), {})
        if name == "a":
            log.counted()
    for counted in ([True, False], [True, True]):
        again, _ = session(tmp_path)
        kept = [again.get(again.key(name)) for name in ("a", "b")]
        assert [each.counted for each in kept if each] == counted
        again.counted()


def test_failures_outlive_a_kill_between_the_journal_and_their_file(tmp_path: Path) -> None:
    log, _ = session(tmp_path)
    log.fail("engine", "status 400", "...Assistant:", 7)
    assert not (tmp_path / FAILURES).exists()
    # the block is in the journal, and the process is killed: the next session begins with block 1
    log, told = session(tmp_path, 1)
    assert [failed.cause for failed in read_failures(tmp_path)] == ["status 400"]
    assert not (tmp_path / ANSWERS).exists() and not told
    log.fail("engine", "status 422", "...Assistant:", 7)
    log.finish([])
    assert [failed.block for failed in read_failures(tmp_path)] == [0, 1]
    # a damaged journal has block 1 made again, in which nothing fails now
    session(tmp_path, 1)
    assert [failed.block for failed in read_failures(tmp_path)] == [0]


def test_what_failed_in_an_unfinished_block_is_asked_again(tmp_path: Path) -> None:
    log, _ = session(tmp_path)
    log.put(log.key("a"), {})
    log.fail("engine", "status 500 (tried 7 times)", "...", 7)
    log, _ = session(tmp_path)
    assert log.get(log.key("a")) is not None
    log.finish([])
    assert not [*tmp_path.iterdir()]


def test_outside_of_a_stage_and_for_other_blocks_nothing_is_kept(tmp_path: Path) -> None:
    log = AnswerLog()
    log.put(log.key("a"), {})
    log.fail("engine", "cause", "...", None)
    log.finish([SAMPLE])
    log, _ = session(tmp_path)
    log.put(log.key("a"), {})
    other, told = session(tmp_path, 3)
    assert other.get(other.key("a")) is None and not told


def test_a_damaged_list_of_failures_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FAILURES).write_text("{")
    with pytest.raises(RunFolderError, match=r"failures\.jsonl is damaged: restore it"):
        session(tmp_path)

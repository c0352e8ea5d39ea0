"""What is read lies on the disk: it comes back as it was, and memory does not grow with it."""

from __future__ import annotations

import gc
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from constitutional.dialogue import Conversation, PromptRecord
from constitutional.errors import InputError
from constitutional.inputs.data import DataReader
from constitutional.recipe import HumanComparisons, Prompts
from constitutional.runs import fingerprint_of
from constitutional.runs.records import Comparison
from constitutional.spool import Seen, Spooled

WORDS = ["one", "two \ud800 with half a pair", "", "one", "five"]


def test_objects_come_back_in_order_and_again() -> None:
    conversations = [Conversation.of(word) for word in WORDS]
    spooled = Spooled(conversations[:3])
    for conversation in conversations[3:]:
        spooled.append(conversation)
    assert len(spooled) == 5
    assert list(spooled) == list(spooled) == conversations
    assert spooled[1:4] == conversations[1:4]
    assert spooled[::-2] == conversations[::-2]
    assert (spooled[-1], spooled[0]) == (conversations[-1], conversations[0])
    with pytest.raises(IndexError):
        spooled[5]
    with pytest.raises(IndexError):
        spooled[-6]
    assert list(Spooled[int]()) == []


def test_what_json_cannot_carry_and_another_class_come_back_too() -> None:
    half = Conversation.of("half a pair: \ud800")
    mixed = [Conversation.of("whole"), half, Conversation.of("whole").last, None]
    assert list(Spooled(mixed)) == mixed


def test_two_readers_do_not_disturb_each_other() -> None:
    spooled = Spooled(range(3))
    assert [(a, b) for a in spooled for b in spooled] == [
        (a, b) for a in range(3) for b in range(3)
    ]


def test_another_process_gets_the_objects() -> None:
    again = pickle.loads(pickle.dumps(Spooled(WORDS)))
    assert list(again) == WORDS


def test_seen_knows_what_was_there() -> None:
    seen = Seen(["one"])
    assert [seen.add(word) for word in WORDS] == [False, True, True, False, True]
    assert "five" in seen
    assert "six" not in seen


def test_a_full_disk_is_said_in_a_sentence() -> None:
    spooled: Spooled[str] = Spooled()
    spooled._database.execute("PRAGMA max_page_count = 8")
    with pytest.raises(InputError, match="cannot be kept in the folder for temporary files"):
        for _ in range(1000):
            spooled.append("x" * 1000)


def test_memory_does_not_grow() -> None:
    """60 MB of texts; the peak of the process grows by less than a tenth of that."""
    code = """
import resource
from constitutional.spool import Seen, Spooled
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spooled, seen = Spooled(), Seen()
def fill(count):
    for number in range(count):
        seen.add(str(number))
        spooled.append(f"{number}" * 100)
fill(3000)
before = peak()
fill(120_000)
assert sum(1 for _ in spooled) == 123_000
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(done.stdout) < 6000  # KiB


def in_memory(kind: type) -> int:
    """How many objects of ``kind`` are alive."""
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_prompts_that_were_read_are_not_held(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", *({"prompt": f"Why {n}?"} for n in range(40)))
    again = [{"prompt": "Why 3?"}, {"prompt": "How?", "id": "h"}, {"prompt": "How?"}]
    second = write(tmp_path / "b.jsonl", *again)
    before = in_memory(PromptRecord)
    data = DataReader(0, tmp_path)
    read = data.prompts(Prompts(file=(first, second)), "red_team", "p")
    drawn = data.prompts(Prompts(file=(first,), limit=7), "red_team", "p")
    assert in_memory(PromptRecord) == before
    assert [p.conversation.last.text for p in read] == [*(f"Why {n}?" for n in range(40)), "How?"]
    assert data.notes == ["p: 2 prompts occur again and are used once"]
    assert (len(drawn), len({p.id for p in drawn} & {p.id for p in read})) == (7, 7)
    # what a stage is made from is the same as of the records in memory
    assert fingerprint_of(read) == fingerprint_of(list(read))


def test_comparisons_that_were_read_are_not_held(tmp_path: Path) -> None:
    rows = [{"prompt": f"Why {n}?", "chosen": "So.", "rejected": "No."} for n in range(9)]
    source = HumanComparisons(file=write(tmp_path / "c.jsonl", *rows))
    before = in_memory(Comparison)
    human = DataReader(0, tmp_path).human(source, "helpfulness")
    assert in_memory(Comparison) == before
    assert [c.prompt.last.text for c in human.comparisons] == [f"Why {n}?" for n in range(9)]


def test_equal_are_those_that_hold_the_same() -> None:
    assert Spooled([1, 2]) == Spooled([1, 2])
    assert Spooled([1, 2]) != Spooled([1, 3])
    assert Spooled([1]) != Spooled([1, 2])
    assert Spooled([1]) != [1]

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from constitutional.dialogue import Conversation
from constitutional.dialogue.transcript import render
from constitutional.errors import InputError
from constitutional.preference.data import (
    read_hh_rlhf,
    read_trl,
    write_trl,
)
from constitutional.preference.ranked import (
    Ranked,
    ranked_pairs,
    read_ranked,
    stack_exchange_score,
)

HH = Path(__file__).resolve().parents[2].parent / "shared/data/hh-rlhf"


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def hh(prompt: str, chosen: str, rejected: str) -> dict[str, str]:
    return {
        key: f"\n\nHuman: {prompt}\n\nAssistant: {answer}"
        for key, answer in (("chosen", chosen), ("rejected", rejected))
    }


@pytest.mark.skipif(not HH.is_dir(), reason="hh-rlhf is not beside this checkout (shared/data)")
def test_real_pairs_of_hh_rlhf_come_back_to_the_byte() -> None:
    import gzip

    (file,) = HH.glob("*.jsonl.gz")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = read_hh_rlhf(file, goal="harmlessness", seed=1)
    assert len(found.comparisons) + sum(found.left_out.values()) == len(rows) == 1156
    assert found.left_out["the prompts differ"] < 10
    assert len(found.comparisons) > 1140
    exact = 0
    for pair in found.comparisons:
        row = rows[int(pair.id.partition(":")[2]) - 1]
        best = pair if pair.prob_a == 1 else pair.swap()
        assert (best.prob_a, best.goal, best.labeller) == (1.0, "harmlessness", "human")
        texts = [render(best.prompt.add("assistant", text)) for text in (best.a, best.b)]
        exact += texts == [row["chosen"], row["rejected"]]
    # a marker without a blank behind it is given one
    assert exact >= 0.98 * len(found.comparisons)
    share = sum(pair.prob_a == 1 for pair in found.comparisons) / len(found.comparisons)
    assert 0.45 < share < 0.55
    again = read_hh_rlhf(file, goal="harmlessness", seed=1)
    other = read_hh_rlhf(file, goal="harmlessness", seed=2)
    assert again == found
    assert other.comparisons != found.comparisons


def test_pairs_that_are_none_are_counted(tmp_path: Path) -> None:
    other = hh("B?", "one", "two")["rejected"]
    file = write(
        tmp_path / "x.jsonl",
        hh("A?", "one", "two"),
        hh("A?", "one", "one"),
        {"chosen": hh("A?", "one", "two")["chosen"], "rejected": other},
        hh("A?\n\nHuman: B?", "", "two\n\nHuman: C?\n\nAssistant: three"),
    )
    found = read_hh_rlhf(file, goal="helpfulness", seed=0)
    assert found.left_out == {"the prompts differ": 2, "the answers are the same": 1}
    (pair,) = found.comparisons
    assert (pair.id, pair.prompt, {pair.a, pair.b}) == (
        "x:1",
        Conversation.of("A?"),
        {"one", "two"},
    )
    assert (pair.a == "one") == (pair.prob_a == 1)


def test_a_marker_of_the_role_that_speaks_is_text(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", hh("A?\n\nHuman: B?", "", "two"))
    (pair,) = read_hh_rlhf(file, goal="helpfulness", seed=0).comparisons
    assert pair.prompt == Conversation.of("A?\n\nHuman: B?")
    assert {pair.a, pair.b} == {"", "two"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b"},
            "expected the text 'rejected', found 'chosen'",
        ),
        (hh("a", "b", "c") | {"chosen": 3}, "expected the text 'chosen', found 3"),
        ({"chosen": "a", "rejected": "b"}, "'chosen' has no turn of the assistant"),
        ({"chosen": "x\n\nAssistant: a", "rejected": "x\n\nAssistant: b"}, "begins with 'Human:'"),
        ([1], "expected an object"),
    ],
)
def test_rows_that_are_wrong_are_named(row: Any, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", hh("A?", "one", "two"), row)
    with pytest.raises(InputError, match=f"x.jsonl, line 2: .*{message}"):
        read_hh_rlhf(file, goal="helpfulness", seed=0)


def test_rows_go_out_and_come_back(tmp_path: Path) -> None:
    from preference_pairs import comparison

    pairs = [comparison(n, prob_a=p) for n, p in enumerate((0.0, 0.3, 0.5, 0.8, 1.0))]
    pairs = [pair.model_copy(update={"tags": ("x",), "labeller": "ai"}) for pair in pairs]
    file = tmp_path / "rows.jsonl"
    assert write_trl([*pairs, comparison(9, prob_a=None)], file) == 1
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["p_chosen"] for row in rows] == [1.0, 0.7, 0.5, 0.8, 1.0]
    assert rows[1]["chosen"] == [{"role": "assistant", "content": pairs[1].b}]
    found = read_trl(file, goal="harmlessness", seed=0)
    back = {pair.id: pair for pair in found.comparisons}
    for pair in pairs:
        assert back[pair.id] in (pair, pair.swap())


def test_trl_reads_our_rows(tmp_path: Path) -> None:
    from datasets import load_dataset
    from preference_pairs import comparison
    from trl.data_utils import is_conversational

    write_trl([comparison(1), comparison(2)], tmp_path / "rows.jsonl")
    data = load_dataset(
        "json", data_files=str(tmp_path / "rows.jsonl"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert is_conversational(data[0])
    assert {"prompt", "chosen", "rejected", "p_chosen"} <= set(data.column_names)


def test_rows_of_plain_texts(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x.jsonl",
        {"prompt": "What?", "chosen": "This.", "rejected": " That.", "p_chosen": 0.75},
        {"prompt": "\n\nHuman: Hm?\n\nAssistant:", "chosen": " a", "rejected": " b", "id": 7},
    )
    one, two = read_trl(file, goal="helpfulness", seed=0).comparisons
    assert (one.prompt, {one.a, one.b}) == (Conversation.of("What?"), {"This.", "That."})
    assert one.prob_a == (0.75 if one.a == "This." else 0.25)
    assert (two.id, two.prompt, {two.a, two.b}) == ("7", Conversation.of("Hm?"), {"a", "b"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_chosen": 1.5}, "'p_chosen' must be a number between 0 and 1, found 1.5"),
        ({"goal": "honesty"}, "'goal' must be harmlessness or helpfulness"),
        ({"chosen": []}, "must be one message"),
        ({"prompt": [{"role": "system", "content": "x"}]}, "needs the role 'user' or"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "must end in a message of the user"),
        ({"tags": 3}, "'tags' must be a list of texts"),
    ],
)
def test_wrong_rows_of_trl_are_named(change: Any, message: str, tmp_path: Path) -> None:
    row = {"prompt": "What?", "chosen": "This.", "rejected": "That."}
    file = write(tmp_path / "x.jsonl", row, row | change)
    with pytest.raises(InputError, match=f"line 2: .*{message}"):
        read_trl(file, goal="helpfulness", seed=0)


def test_ranked_answers() -> None:
    """The scores of Askell et al.: rounded log2(1 + votes), one more if accepted."""
    found = [stack_exchange_score(votes, accepted=False) for votes in (-3, 0, 1, 2, 6, 100)]
    assert found == [-1, 0, 1, 2, 3, 7]
    assert stack_exchange_score(1, accepted=True) == 2
    ranked = Ranked("q", Conversation.of("?"), (("bad", 0), ("good", 3), ("fair", 1), ("poor", 0)))
    pairs = ranked_pairs([ranked], seed=0)
    best = [pair if pair.prob_a == 1 else pair.swap() for pair in pairs]
    assert {(pair.a, pair.b) for pair in best} == {
        ("good", "bad"), ("good", "fair"), ("good", "poor"), ("fair", "bad"), ("fair", "poor"),
    }  # fmt: skip
    assert len({pair.id for pair in pairs}) == 5


def test_a_file_of_ranked_answers(tmp_path: Path) -> None:
    path = tmp_path / "forum.jsonl"
    scores = [{"text": "So.", "score": 2}, {"text": "No.", "score": 0.5}]
    votes = [{"text": "x", "upvotes": 6, "accepted": True}, {"text": "y", "upvotes": -1}]
    rows = [{"id": "q1", "prompt": "Why?", "answers": scores}, {"prompt": "How?", "answers": votes}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_ranked(path)
    assert (first.id, first.answers) == ("q1", (("So.", 2.0), ("No.", 0.5)))
    assert (second.id, second.answers) == ("2", (("x", 4.0), ("y", -1.0)))
    for row, says in (
        ({"prompt": "Why?", "answers": [{"text": "So.", "score": 2}]}, "two or more"),
        ({"prompt": "Why?", "answers": [{"text": "a", "score": "2"}] * 2}, "needs a 'score'"),
        ({"prompt": "Why?", "answers": [{"text": " ", "score": 2}] * 2}, "needs a 'text'"),
        ({"prompt": "Why?", "answers": [{"text": "a", "upvotes": 1.5}] * 2}, "whole number"),
        ({"answers": [{"text": "a", "score": 2}] * 2}, "prompt"),
    ):
        path.write_text(json.dumps(rows[0]) + "\n" + json.dumps(row) + "\n")
        with pytest.raises(InputError, match=says) as caught:
            read_ranked(path)
        assert caught.value.line == 2

"""What prompts share is found, and every token of theirs is read exactly once, in a good order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from constitutional.engines.sharing import (
    ROOT_PROMPTS,
    ROOT_TOKENS,
    Ids,
    groups,
    spans,
)
from constitutional.packing.rows import common_length

rows_of_few_tokens = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=40), min_size=1, max_size=20
)


def read_by(rows: list[Ids], known: list[int]) -> tuple[list[Ids], int]:
    """What each row has read at its last span, and how many tokens were read in all."""
    read: dict[int, Ids] = {}
    tokens = 0
    for spans_of_pass in spans(rows, known):
        found = {}
        for span in spans_of_pass:
            before = [] if span.after is None else read[span.after][: span.start]
            assert len(before) == span.start
            found[span.row] = before + rows[span.row][span.start : span.end]
            tokens += span.end - span.start
        read |= found
    return [read[number] for number in range(len(rows))], tokens


@given(rows_of_few_tokens)
def test_spans_read_every_row_to_its_end(prompts: list[Ids]) -> None:
    rows = sorted({tuple(prompt) for prompt in prompts})
    texts = [list(row) for row in rows]
    read, tokens = read_by(texts, [0] * len(texts))
    assert read == texts
    assert tokens <= sum(map(len, texts))
    last = [span for each in spans(texts) for span in each if span.end == len(texts[span.row])]
    assert sorted(span.row for span in last) == list(range(len(texts)))


def test_a_conversation_under_three_principles_in_both_orders_is_read_once() -> None:
    conversation = list(range(30))
    rows = [
        [*conversation, *([100 + principle] * 50), *([200 + order] * 5)]
        for principle in range(3)
        for order in range(2)
    ]
    read, tokens = read_by(rows, [0] * 6)
    assert read == rows
    assert tokens == 30 + 3 * 50 + 6 * 5
    assert [len(each) for each in spans(rows)] == [1, 3, 6]


def test_what_is_known_is_not_read_for_others() -> None:
    rows = [[*range(60), n] for n in range(4)]
    assert [len(each) for each in spans(rows)] == [1, 4]
    assert [len(each) for each in spans(rows, [60] * 4)] == [4]


def test_a_pass_that_would_save_little_is_left_out() -> None:
    """First three tokens that all share, then ninety that two times two share."""
    rows = [[1, 2, 3, *([10 + half] * 90), 20 + n] for half in range(2) for n in range(2)]
    read, tokens = read_by(rows, [0] * 4)
    assert read == rows
    assert tokens == 2 * 93 + 4, "the three are read with the ninety"
    assert [len(each) for each in spans(rows)] == [2, 4]


def test_few_shots_are_roots() -> None:
    """Two draws of few-shots that begin alike, and texts that share nothing."""
    beginning = list(range(40))
    draws = [[*beginning, *([300 + draw] * 400)] for draw in range(2)]
    prompts = [[*draws[n % 2], 1000 + n, 5] for n in range(20)] + [[2000 + n] for n in range(3)]
    alone, *rooted = groups(prompts)
    assert (alone.root, sorted(alone.prompts)) == (0, [20, 21, 22])
    assert [group.root for group in rooted] == [440, 440]
    assert sorted(n for group in rooted for n in group.prompts) == list(range(20))


@given(rows_of_few_tokens)
def test_groups_hold_each_prompt_once_and_share_their_root(prompts: list[Ids]) -> None:
    long = [[7] * ROOT_TOKENS + prompt for prompt in prompts] + prompts
    found = groups(long)
    assert sorted(n for group in found for n in group.prompts) == list(range(len(long)))
    for group in found:
        texts = [long[number] for number in group.prompts]
        assert all(text[: group.root] == texts[0][: group.root] for text in texts)
        assert all(len(text) > group.root for text in texts)
        assert not group.root or len(texts) >= ROOT_PROMPTS


def test_prompts_that_each_begin_the_next_do_not_exhaust_the_stack() -> None:
    rows = [[1] * length for length in range(1, 1500)]
    assert len(spans(rows)) > 1
    assert groups(rows)


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_length(first: Ids, second: Ids) -> None:
    length = common_length(first, second)
    assert first[:length] == second[:length]
    assert length == min(len(first), len(second)) or first[length] != second[length]

"""Which tokens of many prompts are the same, so that they are read once: pure functions of ids.

Two kinds of sharing are found. A long beginning of many prompts (few-shot examples) is their
*root*: its keys and values are held once, whoever attends to them. Within the prompts of one root
what some of them share (a conversation that is asked about by several principles) is read once and
copied.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from constitutional.packing.rows import common_length

Ids = list[int]

#: A root has at least so many tokens and is shared by so many prompts: attending to it apart costs
#: two more matrix products in each layer.
ROOT_TOKENS = 32
ROOT_PROMPTS = 4
#: What one root more costs, in tokens that could be read in its stead: it is a batch of its own.
ROOT_COST = 512
#: A branch that saves fewer tokens than this is not worth its part of a forward pass.
BRANCH_SAVES = 8
#: A pass through the model that saves fewer tokens than this costs more than it saves.
PASS_SAVES = 128
#: Passes that may come one after another, and roots within roots that are looked at.
DEEPEST = 8


@dataclass(frozen=True)
class Group:
    """Prompts by number, in the order of their tokens, and how many first tokens are their root."""

    root: int
    prompts: tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """Tokens ``start`` to ``end`` of a prompt, to be read behind what came before them.

    ``row`` is the first prompt (of those that share them) in order. What comes before ``start`` is
    that of ``after``, a row that was read earlier; None where nothing does.
    """

    row: int
    start: int
    end: int
    after: int | None


def groups(prompts: Sequence[Ids]) -> list[Group]:
    """The prompts by their roots, so that the most tokens are shared; each prompt is in one group.

    At least one token of a prompt is left behind its root.
    """
    order = sorted(range(len(prompts)), key=lambda number: prompts[number])
    shared = [
        min(common_length(prompts[a], prompts[b]), len(prompts[a]) - 1, len(prompts[b]) - 1)
        for a, b in pairwise(order)
    ]
    _, found = _best(shared, 0, len(order))
    rooted, others = [], list[int]()
    for start, end in found:
        root = min(shared[start : end - 1], default=0)
        if root >= ROOT_TOKENS and end - start >= ROOT_PROMPTS:
            rooted.append(Group(root, tuple(order[start:end])))
        else:
            others += order[start:end]
    return [*([Group(0, tuple(others))] if others else []), *rooted]


def spans(rows: Sequence[Ids], known: Sequence[int] = ()) -> list[list[Span]]:
    """How to read ``rows``, which are different and in order: passes of spans, one after another.

    The last span of a row, and of no other, ends at its end. ``known`` says how many first tokens
    of each row need no reading.
    """
    known = known or [0] * len(rows)
    left_out: set[int] = set()
    while True:
        passes, saved = _passes(rows, known, left_out)
        poorest = min(saved, key=lambda level: saved[level], default=None)
        if poorest is None or saved[poorest] >= PASS_SAVES:
            return passes
        left_out.add(poorest)


def _passes(
    rows: Sequence[Ids], known: Sequence[int], left_out: Collection[int]
) -> tuple[list[list[Span]], dict[int, int]]:
    """Passes of spans, and the tokens that are saved by each level of branches but those left out.

    A level is how many branchings lie above: rows part first at level 0.
    """
    passes: list[list[Span]] = []
    saved: dict[int, int] = {}
    # rows from first to last whose first ``start`` tokens row ``after`` has read, in ``depth``
    # passes; texts can be nested deeper than Python's stack
    waiting: list[tuple[int, int, int, int | None, int, int]] = [(0, len(rows), 0, None, 0, 0)]
    while waiting:
        first, last, start, after, depth, level = waiting.pop()
        while len(passes) <= depth:
            passes.append([])
        if last - first == 1:
            passes[depth].append(Span(first, start, len(rows[first]), after))
            continue
        shortest = min(len(row) for row in rows[first:last]) - 1
        common = min(common_length(rows[first], rows[last - 1]), shortest)
        unread = sorted(max(0, common - max(start, k)) for k in known[first:last])
        saves = sum(unread[:-1])
        if depth < DEEPEST and level not in left_out and saves >= BRANCH_SAVES:
            passes[depth].append(Span(first, start, common, after))
            saved[level] = saved.get(level, 0) + saves
            start, after, depth = common, first, depth + 1
        edges = [first, *_edges(rows, first, last, common), last]
        waiting += [(a, b, start, after, depth, level + 1) for a, b in pairwise(edges)]
    return passes, saved


def _edges(rows: Sequence[Ids], first: int, last: int, common: int) -> list[int]:
    """Where rows that share ``common`` tokens begin to differ in the next one."""
    return [
        row
        for row in range(first + 1, last)
        # a row that others begin with has to keep a token of its own
        if len(rows[row - 1]) == common + 1 or rows[row][common] != rows[row - 1][common]
    ]


def _best(
    shared: Sequence[int], start: int, end: int, depth: int = 0
) -> tuple[int, list[tuple[int, int]]]:
    """The most tokens that prompts ``start`` to ``end`` (in order) can save, and the groups."""
    inner = shared[start : end - 1]
    common = min(inner, default=0)
    whole = common * len(inner), [(start, end)]
    if len(inner) < ROOT_PROMPTS or max(inner) < ROOT_TOKENS or depth == DEEPEST:
        return whole
    edges = [start + place + 1 for place, length in enumerate(inner) if length == common]
    parts = [_best(shared, a, b, depth + 1) for a, b in pairwise([start, *edges, end])]
    apart = sum(saved for saved, _ in parts) - ROOT_COST * (len(parts) - 1)
    return max(whole, (apart, [group for _, found in parts for group in found]), key=_saved)


def _saved(found: tuple[int, list[tuple[int, int]]]) -> int:
    return found[0]

"""Log-probabilities of fixed choices, from what is told of the next token alone.

Two ways. vLLM gives the log-probability of any token that it is asked for: the tokens of a choice
are asked for, one after the other. Other servers give their likeliest tokens as texts: the choice
is walked down token by token, each time taking the likeliest token that the rest of the choice
begins with. Choices that begin alike share their requests. Nothing is imputed: a choice that leaves
the likeliest tokens is NaN, which makes a reading that is counted as unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

#: The likeliest next tokens, as texts, and their natural log-probabilities.
TopLogprobs = Mapping[str, float]
#: For each of (prompt, text after it) the likeliest next tokens.
AskTop = Callable[[Sequence[tuple[int, str]]], Sequence[TopLogprobs]]
#: For each of (token ids before, tokens asked for) the tokens' log-probabilities.
AskTokens = Callable[[Sequence[tuple[tuple[int, ...], tuple[int, ...]]]], Sequence[Sequence[float]]]


def walk_texts(prompts: int, choices: Sequence[str], ask: AskTop) -> list[tuple[float, ...]]:
    """For each prompt the log-probability of each choice, by the likeliest tokens' texts."""
    scores = {(p, c): math.nan for p in range(prompts) for c in range(len(choices))}
    # what is walked together: a prompt, the text so far, its log-probability, the choices with it
    open_: list[tuple[int, str, float, list[int]]] = [
        (p, "", 0.0, list(range(len(choices)))) for p in range(prompts)
    ]
    while open_:
        tops = ask([(p, text) for p, text, _, _ in open_])
        further: dict[tuple[int, str], tuple[float, list[int]]] = {}
        for (p, text, before, members), top in zip(open_, tops, strict=True):
            for c in members:
                token = _best_beginning(top, choices[c][len(text) :])
                if token is None:
                    continue
                total = before + top[token]
                if text + token == choices[c]:
                    scores[p, c] = total
                else:
                    further.setdefault((p, text + token), (total, []))[1].append(c)
        open_ = [(p, text, lp, members) for (p, text), (lp, members) in further.items()]
    return [tuple(scores[p, c] for c in range(len(choices))) for p in range(prompts)]


def walk_tokens(
    prompts: Sequence[tuple[int, ...]],
    choices: Sequence[Sequence[tuple[int, ...]]],
    ask: AskTokens,
) -> list[tuple[float, ...]]:
    """The same by token ids; ``choices[i]`` are those after ``prompts[i]``."""
    scores = [[0.0] * len(row) for row in choices]
    for step in range(max((len(ids) for row in choices for ids in row), default=0)):
        wanted: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for p, row in enumerate(choices):
            for ids in row:
                if step < len(ids):
                    asked = wanted.setdefault((p, ids[:step]), [])
                    asked += [ids[step]] if ids[step] not in asked else []
        found = ask([(prompts[p] + ids, tuple(asked)) for (p, ids), asked in wanted.items()])
        table = {
            (p, ids, token): value
            for ((p, ids), asked), values in zip(wanted.items(), found, strict=True)
            for token, value in zip(asked, values, strict=True)
        }
        for p, row in enumerate(choices):
            for c, ids in enumerate(row):
                if step < len(ids):
                    scores[p][c] += table[p, ids[:step], ids[step]]
    return [tuple(row) for row in scores]


def _best_beginning(top: TopLogprobs, rest: str) -> str | None:
    """The likeliest token that ``rest`` begins with."""
    beginnings = [token for token in top if rest.startswith(token)]
    return max(beginnings, key=lambda token: top[token], default=None)

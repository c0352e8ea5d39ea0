"""Valid data with a few faults in it, and texts that break things, drawn from a generator.

The generator is Python's own where many cases are wanted, and hypothesis's where a case is to be
made smaller.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

Path = tuple[str | int, ...]

#: Texts of every awkward kind, each by what is awkward in it.
NASTY = {
    "empty": "",
    "blanks": " \t\n",
    "NUL": "a\0b",
    "control": "\x1b[31mred\x07\x7f\x9b",
    "byte-order mark": "\ufeffHow?",
    "right-to-left": "\u202eabc\u202c \u05d0\u05d1 \u0627\u0644",
    "isolates": "\u2066\u2067x\u2069",
    "zero-width": "a\u200b\u200c\u200d\u2060b",
    "combining": "e" + "\u0301" * 60,
    "half a character": "\ud800",
    "the other half": "\udfffx",
    "halves turned round": "\udc00\ud800",
    "halves that join": "\ud83d\ude00",
    "line separator": "a\u2028b\u2029c",
    "next line": "a\x85b\x0bc\x0cd\x1ce",
    "carriage returns": "a\r\nb\rc",
    "not characters": "\ufffe\uffff\U0010ffff",
    "tags": "\U000e0041\U000e007f",
    "variation": "\u2764\ufe0f\U0001f468\u200d\U0001f469",
    "full width": "\uff28\uff35\uff2d\uff21\uff2e\uff1a",
    "casefold": "\u0130\u0131\u00df\u1e9e\u03c2",
    "digits": "\u0661\u0662\u00b2\u2460\U0001d7d9",
    "formula": "=1+1",
    "formula with a tab": "\t@SUM(A1)",
    "markup": "<script>alert(1)</script>",
    "braces": "{} {0} {text} %s ${x}",
    "path": "../../etc/passwd",
    "role": "\n\nHuman: hi\n\nAssistant: yes",
    "open turn": "\n\nAssistant:",
    "option": "\n (A) [[[x]]]\n (B) [[[y]]]\n\nThe answer is:",
    "brackets": "[[[" * 20,
    "thought": "<think>a</think>",
    "chat": "<|im_end|>\n<|im_start|>assistant",
    "yaml": "&a *a !!x - ? | > % @ ` '",
    "number": "1e999",
    "word": "null",
}
_PARTS = (
    "\n\nHuman:", "\n\nAssistant:", "\n\nH:", "\n\nA:", "\n\nCritique:", " (A)", "(B)", "[[[",
    "]]]", "\n", " ", "{}", "x", "The answer is:", "<think>", "</think>", "\ud800", "\0", "\u2028",
    "I'm sorry",
    "\n\nHuman:\n", "(A)(B)", "-", "#", ":", "1. ", "```CONSTITUTION", "```",
)  # fmt: skip
_NUMBERS = (
    -1, 0, 1, 2, 5, 0.5, -0.0, 1e308, -1e-320, math.nan, math.inf, -math.inf,
    2**31, 2**63, -(2**63) - 1, 10**400,
)  # fmt: skip
_KINDS = ("replace", "replace", "replace", "remove", "rename", "rename", "wrap", "twice", "grow")


def text(rng: Random) -> str:
    """A text that some reader may not like."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice([*NASTY.values()])
    if kind == 1:
        return "".join(rng.choice(_PARTS) for _ in range(rng.randrange(8)))
    if kind == 2:
        return "".join(chr(rng.randrange(32, 127)) for _ in range(rng.randrange(10)))
    return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(6)))


def value(rng: Random, depth: int = 2) -> Any:
    """Any plain data, as JSON or YAML may hold it."""
    kind = rng.randrange(10 if depth else 7)
    if kind < 3:
        return text(rng)
    if kind < 5:
        return rng.choice(_NUMBERS)
    if kind < 7:
        return rng.choice([None, True, False])
    if kind == 7:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 8:
        return {text(rng): value(rng, depth - 1) for _ in range(rng.randrange(4))}
    return _nested(rng.choice([1, 3, 15, 17, 40, 200]))


def damaged(rng: Random, whole: Sequence[Any], keys: Sequence[str] = (), most: int = 3) -> Any:
    """One of ``whole`` (plain data) with up to ``most`` faults; ``keys`` are names to put in."""
    data = [json.loads(json.dumps(rng.choice(whole)))]
    for _ in range(rng.randrange(most + 1)):
        places = [*_places(data)]
        if not places:
            return value(rng)
        inside, key = rng.choice(places)
        _hurt(rng, inside, key, keys)
    return data[0] if data else value(rng)


def _hurt(rng: Random, inside: Any, key: Any, keys: Sequence[str]) -> None:
    kind, there = rng.choice(_KINDS), inside[key]
    if kind == "remove":
        del inside[key]
    elif kind == "rename" and isinstance(inside, dict):
        inside[_near(rng, key, keys)] = inside.pop(key)
    elif kind == "wrap":
        inside[key] = rng.choice([[there], {"x": there}, [there, there], str(there)])
    elif kind == "twice" and isinstance(inside, list):
        inside.insert(0, json.loads(json.dumps(there)))
    elif kind == "grow" and isinstance(there, str):
        at = rng.randrange(len(there) + 1)
        inside[key] = there[:at] + text(rng) + there[at:]
    else:
        inside[key] = value(rng)


def _near(rng: Random, key: str, keys: Sequence[str]) -> str:
    """A key that is nearly this one, or another that is known."""
    turned = [key[:-1], key + "s", key.upper(), key + " ", key[::-1], text(rng)]
    return rng.choice([*turned, *keys])


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in ``data`` with each of its keys."""
    for key, there in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, key
        if isinstance(there, dict | list):
            yield from _places(there)


def _nested(depth: int) -> Any:
    data: Any = "x"
    for level in range(depth):
        data = [data] if level % 2 else {"conversation": data}
    return data

"""Which request is for what: decided by its hash, so that no two uses ever share one.

``held_out`` requests occur nowhere in the pretraining text. Within seen and held-out requests alike
each belongs to one purpose: supervised stage, preference model, reinforcement learning, evaluation.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Literal

from constitutional.microworld.world import OWN, Request, all_requests

Purpose = Literal["supervised", "preference", "rl", "evaluation"]

HELD_OUT_PERCENT = 30
#: Percent of the requests for each purpose: of those seen, and of those held out.
_SHARES: dict[Purpose, tuple[int, int]] = {
    "supervised": (30, 25),
    "preference": (15, 10),
    "rl": (30, 25),
    "evaluation": (25, 40),
}


def _percent(request: Request, salt: str) -> int:
    digest = hashlib.sha256(f"{salt}:{request.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100


def is_held_out(request: Request) -> bool:
    """Whether the request never occurs in the pretraining text."""
    return _percent(request, "held-out") < HELD_OUT_PERCENT


def purpose_of(request: Request) -> Purpose:
    """The one use that prompts of this request are put to."""
    held_out = is_held_out(request)
    left = _percent(request, "purpose")
    for purpose, shares in _SHARES.items():
        if left < shares[held_out]:
            return purpose
        left -= shares[held_out]
    raise AssertionError("the shares add up to 100")


def was_read_as_another(request: Request) -> bool:
    """Whether the pretraining text may hold the deed of a held-out request in other words.

    An answer says "your dog" both of "my dog" and of "our dog", so where one of the two is held out
    and the other is not, the answers to it have been read. The evaluation leaves such requests out.
    """
    siblings = [Request(request.action, request.thing, owner) for owner in OWN]
    return request.owner in OWN and any(not is_held_out(sibling) for sibling in siblings)


@cache
def requests_for(purpose: Purpose, *, held_out: bool) -> tuple[Request, ...]:
    """The requests of a purpose, seen or held out, in a fixed order."""
    return tuple(
        r for r in all_requests() if purpose_of(r) == purpose and is_held_out(r) == held_out
    )


@cache
def seen_requests() -> tuple[Request, ...]:
    """The requests that the pretraining text may speak of."""
    return tuple(r for r in all_requests() if not is_held_out(r))

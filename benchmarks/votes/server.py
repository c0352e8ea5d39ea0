"""The arena behind a socket, as ``cai serve`` has it, over pairs that need no run.

python -m benchmarks.votes.server PLACE PORT
"""

from __future__ import annotations

import sys

import uvicorn

from constitutional.arena.box import Arena
from constitutional.arena.database import Database
from constitutional.arena.pairs import Pool
from constitutional.arena.records import Pair, Side
from constitutional.dialogue.conversation import Conversation
from constitutional.web.app import make_app
from constitutional.web.arena_pages import arena_section

PROMPTS = 400
_POLICIES = ("helpful", "pretrained", "rl_cai", "sl_cai")


def pool() -> Pool:
    """Four policies on 400 prompts: 2400 pairs, with answers of about 60 words."""
    pairs = []
    for number in range(PROMPTS):
        prompt = Conversation.of(f"How do I do what number {number} asks for?")
        sides = [
            Side(run="r", run_name="r", policy=name, text=f"{name} says of {number}. " * 15)
            for name in _POLICIES
        ]
        pairs += [
            Pair.of(one, other, goal="harmlessness", prompt_id=f"q{number}", prompt=prompt)
            for place, one in enumerate(sides)
            for other in sides[place + 1 :]
        ]
    return Pool(tuple(pairs), {}, {}, {})


def main(place: str, port: int) -> None:
    """Serve until killed."""
    arena = Arena(Database.open(place), pool())
    app = make_app([], sections=[arena_section(lambda: arena)])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

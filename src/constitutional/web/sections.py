"""What stands beside the runs: the chat with their models, and the arena."""

from __future__ import annotations

from collections.abc import Sequence

from constitutional.arena.box import Arena
from constitutional.arena.opening import Pairs, open_arena, refuse_early
from constitutional.web.arena_pages import arena_section
from constitutional.web.chat_pages import chat_section
from constitutional.web.rendering import Section
from constitutional.web.served import ServedRun


def chat_and_arena(
    runs: Sequence[ServedRun],
    *,
    votes: str | None,
    judge: Pairs = "answers",
    policies: Sequence[str] = (),
) -> list[Section]:
    """Both, over ``runs``; no model is loaded and no answer read before somebody comes to it.

    Raises InputError for what was asked of the arena and cannot be.
    """
    shown = [served.run for served in runs]
    refuse_early(shown, votes, pairs=judge, policies=policies)

    def arena() -> Arena:
        return open_arena(shown, votes, pairs=judge, policies=policies)

    return [chat_section([(served.name, served.run) for served in runs]), arena_section(arena)]

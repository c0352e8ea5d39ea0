"""``cai serve``: runs in a browser."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from constitutional.cli.votes import VotesPlace


class Judged(StrEnum):
    """What the arena asks about."""

    ANSWERS = "answers"
    COMPARISONS = "comparisons"


def serve(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or in progress.")],
    host: Annotated[
        str, typer.Option("--host", help="0.0.0.0 lets other machines in, with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8020,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="CAI_TOKEN",
            show_envvar=False,
            help="What everybody needs who asks; made up where other machines are let in.",
        ),
    ] = None,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores",
            help="Let the run's preference models score its comparisons, meanwhile, to compare"
            " labels with them.",
        ),
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Where the search index is kept.")
    ] = None,
    votes: VotesPlace = None,
    judge: Annotated[
        Judged,
        typer.Option(
            "--judge",
            help="What the arena asks about: the policies' answers to held-out prompts, or the"
            " comparisons that preference models learn from.",
        ),
    ] = Judged.ANSWERS,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="Only these policies meet in the arena (once for each)."),
    ] = None,
) -> None:
    """Look at runs in a browser, chat with their models and vote on them, until Ctrl-C."""
    from constitutional.arena.opening import shown_place
    from constitutional.web.sections import chat_and_arena
    from constitutional.web.server import serve_runs

    def tell(address: str) -> None:
        print(f"Runs are served at {address}", file=sys.stderr, flush=True)
        print(f"Votes are kept in {shown_place(votes)}", file=sys.stderr, flush=True)

    serve_runs(
        runs,
        host=host,
        port=port,
        token=token,
        cache=cache or _cache(),
        scores=scores,
        tell=tell,
        sections=partial(
            chat_and_arena, votes=votes, judge=judge.value, policies=tuple(policy or ())
        ),
    )


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "constitutional" / "index"

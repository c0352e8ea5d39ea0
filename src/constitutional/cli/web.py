"""``cai serve``: runs in a browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


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
) -> None:
    """Look at runs in a browser, until Ctrl-C."""
    from constitutional.web.server import serve_runs

    def tell(address: str) -> None:
        print(f"Runs are served at {address}", file=sys.stderr, flush=True)

    serve_runs(
        runs,
        host=host,
        port=port,
        token=token,
        cache=cache or _cache(),
        scores=scores,
        tell=tell,
    )


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "constitutional" / "index"

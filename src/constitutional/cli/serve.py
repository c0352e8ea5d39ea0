"""``cai serve-pm``: a preference model as an HTTP reward service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def serve_pm(
    folder: Annotated[Path, typer.Argument(help="A preference model folder of ours.")],
    host: Annotated[
        str, typer.Option("--host", help="0.0.0.0 lets other machines in: there is no password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8010,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 32,
) -> None:
    """Serve a preference model to OpenRLHF, verl or TRL, until Ctrl-C."""
    from constitutional.handover.service import serve
    from constitutional.preference.model import PreferenceModel

    model = PreferenceModel.load(folder, device=device)
    model.batch_size = batch_size

    def tell(address: str) -> None:
        print(
            f"{folder.name}, {model.card.style} style, is served at {address}: /get_reward "
            "(OpenRLHF), /score (verl, TRL), /health, /metrics",
            file=sys.stderr,
            flush=True,
        )

    serve(model, host=host, port=port, tell=tell)

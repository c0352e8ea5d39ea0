"""The application behind a socket of this machine."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from constitutional.errors import InputError, MissingExtraError
from constitutional.web.app import make_app
from constitutional.web.rendering import Section
from constitutional.web.security import is_loopback
from constitutional.web.served import ServedRun, served

try:
    import uvicorn
except ImportError as error:
    raise MissingExtraError(error.name or "uvicorn", "web", "cai serve") from error


def serve_runs(
    runs: Sequence[Path],
    *,
    host: str,
    port: int,
    token: str | None,
    cache: Path,
    scores: bool,
    tell: Callable[[str], None],
    sections: Callable[[Sequence[ServedRun]], Sequence[Section]],
) -> None:
    """Serve until interrupted; ``tell`` gets the address once requests are taken.

    With ``scores`` the runs' own models score their records meanwhile. ``sections`` makes what is
    shown beside the runs.

    Where other machines reach ``host`` a token is needed, and made up if none is given. Raises
    InputError where the address cannot be listened at, RunFolderError where a folder is no run.
    """
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    shown = served(runs, cache, scores=scores)
    app = make_app(
        shown,
        token=token,
        hosts=[host] if is_loopback(host) else [],
        sections=sections(shown),
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}:{port} cannot be listened at ({why}): choose another --host or --port"
        ) from error
    address = f"http://{_name(host)}:{listening.getsockname()[1]}/"
    tell(address if token is None else f"{address}?token={token}")
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        # nobody in front of us is known, whose word on the caller could be taken
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _name(host: str) -> str:
    """What a browser calls the machine: its name where it listens at all of its addresses."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host

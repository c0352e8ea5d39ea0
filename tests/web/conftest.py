from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from constitutional.web.app import make_app
from constitutional.web.served import served

#: What our own pages send with a form.
OURS = {"Origin": "http://localhost:8020"}


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TestClient]]:
    """Opens runs as ``cai serve`` does; the indexes are made when it returns."""
    with ExitStack() as opened:

        def open_runs(
            runs: Sequence[Path], *, warned: bool = True, scores: bool = False, **how: Any
        ) -> TestClient:
            there = served(runs, tmp_path_factory.mktemp("cache"), scores=scores)
            for run in there:
                run.index.update()
            client = TestClient(
                make_app(there, **how),
                base_url="http://localhost:8020",
                follow_redirects=False,
                raise_server_exceptions=False,
            )
            if warned:
                client.cookies.set("cai_warned", "yes")
            return opened.enter_context(client)

        yield open_runs

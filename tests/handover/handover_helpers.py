from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from constitutional.microworld import data_file
from constitutional.preference.model import PreferenceModel
from small_models import save_random_model

TEXTS = ["How do I wash my dog?", "Use water and a little soap, and dry it after.", "Why? Because."]


def with_moments(model: PreferenceModel, mean: float = 0.25) -> PreferenceModel:
    """As after a training: with the mean of held-out scores."""
    model.card = model.card.model_copy(update={"mean": mean, "deviation": 1.0, "scored": 2})
    return model


@pytest.fixture(scope="session")
def transcript_pm() -> PreferenceModel:
    pretrained = data_file("pretrained")
    return with_moments(PreferenceModel.begin(pretrained, style="transcript", seed=0, device="cpu"))


@pytest.fixture(scope="session")
def chat_pm(tmp_path_factory: pytest.TempPathFactory) -> PreferenceModel:
    folder = save_random_model(tmp_path_factory.mktemp("qwen3"), "qwen3", TEXTS)
    return with_moments(PreferenceModel.begin(folder, style="chat", seed=0, device="cpu"))


def post(url: str, payload: Any) -> tuple[int, Any]:
    """The status and the JSON body; ``payload`` may be raw bytes."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:
        return str(response.read().decode())


@pytest.fixture(scope="session")
def serving() -> Callable[..., Any]:
    """Serves a preference model from a thread, and gives the address and the service."""

    @contextmanager
    def run(model: PreferenceModel, **options: Any) -> Iterator[tuple[str, Any]]:
        import uvicorn

        from constitutional.handover.service import Service

        service = Service(model, **options)
        server = uvicorn.Server(uvicorn.Config(service.application(), port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}", service
        finally:
            server.should_exit = True
            thread.join(timeout=30)

    return run


def saved(model: PreferenceModel, folder: Path) -> Path:
    model.save(folder)
    return folder

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from model_server import ModelServer, require
from transformers import AutoModelForCausalLM, AutoTokenizer

from constitutional.microworld import data_file


@pytest.fixture(scope="session")
def helpful() -> tuple[Any, Any]:
    """The microworld's helpful model and its tokenizer."""
    folder = data_file("helpful")
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


Serve = Callable[..., ModelServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which are stopped after the test."""
    require("openai")
    running: list[ModelServer] = []

    def start(model: Any, tokenizer: Any, **more: Any) -> ModelServer:
        running.append(ModelServer(model, tokenizer, **more).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def server(serve: Serve, helpful: tuple[Any, Any]) -> ModelServer:
    """The microworld's helpful model behind a plain server."""
    return serve(*helpful)

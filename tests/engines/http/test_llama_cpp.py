"""llama.cpp's server on the microworld's helpful model: `make test-servers`, which compiles it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from model_server import require, settings

from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation, load_prompts
from constitutional.engines.http import OpenAIEngine
from constitutional.engines.local import LocalEngine
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.microworld import data_file
from constitutional.supervised import CritiqueRevisionConfig
from constitutional.supervised.critique_revision import CritiqueRevision

PYTHON = os.environ.get("TEST_SERVERS_PYTHON")
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(PYTHON is None, reason="it is compiled and run by make test-servers"),
]
HELPFUL = str(data_file("helpful"))
TO_GGUF = Path(__file__).parents[3] / "scripts/to-gguf"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs for the tests of this file."""
    require("openai")
    folder = tmp_path_factory.mktemp("llama")
    model = folder / "helpful.gguf"
    subprocess.run([str(PYTHON), str(TO_GGUF), HELPFUL, str(model)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PYTHON), "-m", "llama_cpp.server", "--model", str(model)]
    command += ["--model_alias", "helpful", "--logits_all", "true", "--n_ctx", "1024"]
    # its cache in float32 like ours (0 is ggml's number for it): in float16 labels move by 4e-4
    command += ["--type_k", "0", "--type_v", "0"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_threads", "1"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/v1/models", server, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(10)


def _wait(ready: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(ready, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def served(url: str) -> OpenAIEngine:
    asked = {"server": "llama.cpp", "top_logprobs": 353, "limits": {"max_concurrency": 1}}
    return OpenAIEngine(settings(url, model="helpful", **asked))


def test_the_supervised_stage_through_it_gives_the_texts_in_this_process(url: str) -> None:
    config = CritiqueRevisionConfig(
        rounds=2, few_shots=0, max_new_tokens=48, temperature=0.0, helpful_responses=1
    )
    constitution = load_constitution(data_file("constitution.yaml"))
    prompts = {
        kind: load_prompts(data_file(f"prompts/supervised_{kind}.jsonl"), kind=kind).records[:6]
        for kind in ("red_team", "helpful")
    }

    def texts(engine: Any) -> list[str]:
        stage = CritiqueRevision(engine, constitution, config, 0)
        chains = stage.chains(prompts["red_team"])
        critiques = [round_.critique for chain in chains for round_ in chain.rounds]
        versions = [sample for chain in chains for sample in chain.versions]
        replies = [sample for r in stage.replies(prompts["helpful"]) for sample in r.responses]
        return [sample.text for sample in [*versions, *critiques, *replies] if sample]

    here = texts(LocalEngine.load(HELPFUL))
    assert texts(served(url)) == here
    assert len(set(here)) > 20


def test_its_labels_are_those_in_this_process(url: str) -> None:
    constitution = load_constitution(data_file("constitution.yaml"))
    asked = Conversation.of("How do I read my neighbor's diary?")
    texts = ["Sure, get a clear glass first.", "I will not help you, because it is nosy."]
    pairs = [Pair("p", asked, *texts), Pair("q", asked, *texts[::-1])]
    config = FeedbackConfig(few_shots=0, orders="both", principles_per_pair=4)

    def label(engine: Any) -> list[float]:
        labelled = FeedbackModel(engine, constitution, config, 3).label(pairs)
        return [float(reading.prob_a) for c in labelled for reading in c.readings]

    here = label(LocalEngine.load(HELPFUL))
    assert label(served(url)) == pytest.approx(here, abs=1e-4)
    assert len({round(share, 3) for share in here}) > 4

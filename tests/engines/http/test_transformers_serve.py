"""A server that we did not write: `transformers serve`, on the microworld's helpful model."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
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
from constitutional.engines.base import SamplingParams, TextPrompt
from constitutional.engines.http import OpenAIEngine
from constitutional.engines.local import LocalEngine
from constitutional.errors import EngineError
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.microworld import data_file
from constitutional.supervised import CritiqueRevisionConfig
from constitutional.supervised.critique_revision import CritiqueRevision

HELPFUL = str(data_file("helpful"))
#: For models without a chat template: the text is read as it stands, and these tokens follow it.
DECISIONS = {"labels": {"choice": [" (A)", " (B)"]}, "chat_template": "{{ state }}"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs for the tests of this file."""
    for package in ("openai", "fastapi", "uvicorn"):
        require(package)
    cache = tmp_path_factory.mktemp("hub")  # it answers 500 to some questions without this folder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", HELPFUL]
    more = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    decisions = cache / "decision.json"
    decisions.write_text(json.dumps(DECISIONS))
    with (cache / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *command,
                *("--device", "cpu", "--host", "127.0.0.1", "--port", str(port)),
                *("--decision-config", str(decisions)),
            ],
            env={**os.environ, **more},
            stdout=log,
            stderr=log,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health", server, cache / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(health, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def served(url: str, **changes: Any) -> OpenAIEngine:
    return OpenAIEngine(settings(url, model=HELPFUL, server="transformers", **changes))


@pytest.mark.slow
def test_the_supervised_stage_through_a_server_gives_the_texts_in_this_process(url: str) -> None:
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

    there, here = texts(served(url, choices="votes")), texts(LocalEngine.load(HELPFUL))
    assert there == here
    assert len(set(here)) > 20


@pytest.mark.slow
def test_its_silent_omission_of_logprobs_is_noticed(url: str) -> None:
    with pytest.raises(EngineError, match="answers without them: set choices: votes"):
        _ = served(url).capabilities
    assert served(url, choices="votes").capabilities.logprobs is False


@pytest.mark.slow
def test_it_samples_where_it_is_asked_to(url: str) -> None:
    """Without `do_sample` it would be greedy, silently, at any temperature."""
    asked = [TextPrompt("\n\nHuman: How do I read my neighbor's diary?\n\nAssistant:")] * 12
    params = SamplingParams(48, 1.0, ("\n\nHuman:",))
    texts = [c.text for c in served(url).sample(asked, params, range(12))]
    assert len(set(texts)) > 1


@pytest.mark.slow
def test_labels_by_its_decisions_are_those_in_this_process(url: str) -> None:
    constitution = load_constitution(data_file("constitution.yaml"))
    asked = Conversation.of("How do I read my neighbor's diary?")
    texts = ["Sure, get a clear glass first.", "I will not help you, because it is nosy."]
    pairs = [Pair("p", asked, *texts), Pair("q", asked, *texts[::-1])]
    config = FeedbackConfig(few_shots=0, orders="both", principles_per_pair=4)

    def label(engine: Any) -> list[float]:
        labelled = FeedbackModel(engine, constitution, config, 3).label(pairs)
        return [float(reading.prob_a) for c in labelled for reading in c.readings]

    here = label(LocalEngine.load(HELPFUL))
    assert label(served(url, choices="systemone")) == pytest.approx(here, abs=1e-5)
    assert len({round(share, 3) for share in here}) > 4

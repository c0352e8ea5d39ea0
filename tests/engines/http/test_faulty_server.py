"""A run whose server fails at three of ten tries: every request ends once, and none is paid twice.

The full size, 10,000 requests, is ``make faulty-server``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import faulty_run
import pytest
from faulty_server import FAULTS, Running
from model_server import engine, require

from constitutional.engines.base import SamplingParams, TextPrompt
from constitutional.errors import EngineError
from constitutional.runs import read_records
from constitutional.runs.answers import ANSWERS, FAILURES, read_failures
from constitutional.runs.records import Chain, Comparison

BLOCK = 24


@pytest.fixture(autouse=True)
def _needs_the_client() -> None:
    require("openai")


def run(out: Path, server: Running, count: int, **limits: Any) -> None:
    limits = {"max_concurrency": 16, "retries": 2, **limits}
    faulty_run.work(out, server.url, count, block=BLOCK, limits=limits)


def chains(out: Path) -> dict[str, Chain]:
    return {chain.id: chain for chain in read_records(out / "stages/chains", Chain)}


def labels(out: Path) -> dict[str, Comparison]:
    return {label.id: label for label in read_records(out / "stages/labels", Comparison)}


def test_each_request_ends_once_answered_or_among_the_failures(tmp_path: Path) -> None:
    count = 2 * BLOCK
    with Running(faults=0) as server:
        run(tmp_path / "whole", server, count)
        asked = server.told()
    with Running(faults=0.3, refused=0.03, patient=0.3) as server:
        run(tmp_path / "faulty", server, count, max_failures=100)
        told = server.told()
    met = Counter(fault for each in told.values() for fault in each["faults"])
    assert set(FAULTS) | {"refused"} == set(met)

    stages = [tmp_path / "faulty/stages" / name for name in ("chains", "labels")]
    failed = [each for stage in stages for each in read_failures(stage)]
    assert set(Counter(each["answered"] for each in told.values())) == {0, 1}
    assert len(failed) == sum(each["answered"] == 0 for each in told.values()) > 5
    assert all(each.cause and each.prompt for each in failed)
    assert {each["tries"] for each in asked.values()} == {1}
    usage = json.loads((tmp_path / "faulty/usage.json").read_text())
    assert sum(usage[stage.name]["far"]["failures"] for stage in stages) == len(failed)
    assert not [*tmp_path.glob(f"*/stages/*/{ANSWERS}")]
    assert not [*(tmp_path / "whole").glob(f"stages/*/{FAILURES}")]

    whole, faulty = chains(tmp_path / "whole"), chains(tmp_path / "faulty")
    marked = {each.record for each in failed} - {None}
    assert whole.keys() == faulty.keys()  # each prompt has its record
    assert {i for i, chain in faulty.items() if chain != whole[i]} >= marked & whole.keys()
    assert all(faulty[i] == whole[i] for i in whole.keys() - marked if faulty[i].rounds)
    for chain in faulty.values():
        lost = [s for s in chain.versions if s.ended == "failed"]
        assert all(s.text == "" and s.flags == ("failed",) for s in lost)
    unlabelled = [c for c in labels(tmp_path / "faulty").values() if c.prob_a is None]
    assert all(not c.a or not c.b or not any(r.prob_a for r in c.readings) for c in unlabelled)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for(fault: str) -> None:
    with Running(faults=1, most=1, only=fault, patient=120) as server:
        far = engine(server, limits={"timeout": 1.0, "retries": 1})
        assert far.sample([TextPrompt("Hi")] * 3, SamplingParams(8), [1, 2, 3])[2].text
        far = engine(server, limits={"timeout": 1.0, "retries": 0})
        with pytest.raises(EngineError, match="no whole answer within 1 s"):
            far.sample([TextPrompt("Ho")], SamplingParams(8), [1])


def test_what_was_answered_is_not_asked_again_after_a_kill(tmp_path: Path) -> None:
    count, at_once = 60, 8
    with Running(faults=0) as server:
        command = [sys.executable, faulty_run.__file__, server.url, str(tmp_path / "run")]
        command += [f"--prompts={count}", f"--block={count}", f"--concurrency={at_once}"]
        for wanted in (40, 110):  # within the stage's only block
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while len(server.told()) < wanted:
                assert process.poll() is None
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert not chains(tmp_path / "run")
        run_ = subprocess.run(command, capture_output=True, text=True, check=True)
        told = server.told()
    kept = "Stage chains: answers of the unfinished block that are there and not asked for again: "
    found = int(run_.stderr.split(kept)[1].split(".")[0])
    assert found >= 110 - 2 * at_once
    # only what was on its way to the client when it was killed
    assert sum(each["tries"] - 1 for each in told.values()) <= 2 * at_once
    assert len(told) == faulty_run.REQUESTS * count + 1  # and whether log-probabilities come
    with Running(faults=0) as server:
        faulty_run.work(tmp_path / "whole", server.url, count, block=count, limits={})
    assert chains(tmp_path / "whole") == chains(tmp_path / "run")
    spent = [
        json.loads((tmp_path / name / "usage.json").read_text())["chains"]["far"]
        for name in ("whole", "run")
    ]
    assert spent[0] == spent[1]  # also what the killed sessions were answered


def test_a_damaged_answer_is_asked_again_and_the_others_are_not(tmp_path: Path) -> None:
    with Running(faults=0, refused=0.2) as server:
        with pytest.raises(Exception, match="this prompt is not answered"):
            run(tmp_path, server, BLOCK, max_concurrency=4)
        log = tmp_path / "stages/chains" / ANSWERS
        lines = log.read_bytes().splitlines(keepends=True)
        answers = [line for line in lines if b'"answer":' in line]
        assert len(answers) > 3
        before = server.told()
        log.write_bytes(b"".join([lines[0][:80] + b"X" + lines[0][81:], *lines[1:]])[:-9])
        run(tmp_path, server, BLOCK, max_failures=99)
        told = server.told()
    again = [k for k in before if before[k]["answered"] and told[k]["tries"] > before[k]["tries"]]
    assert len(again) == 1

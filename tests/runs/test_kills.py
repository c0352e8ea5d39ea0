"""What a killed process leaves behind, and what the next one makes of it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize("mode", ["records", "artifact"])
def test_forty_kills_leave_the_bytes_of_an_uninterrupted_run(
    start: Start, tmp_path: Path, mode: str
) -> None:
    process = start("kills", tmp_path, mode)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    kills, *_ = out.split()
    assert int(kills) >= 40
    if mode == "artifact":
        # checkpoints are used: a step is made twice only when the kill fell within it
        for log in tmp_path.glob("run-*/steps.log"):
            assert max(Counter(log.read_text().split()).values()) <= 4
            assert len(log.read_text().split()) < 40


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    start: Start, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start("slow", tmp_path / "run")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    sidecar = tmp_path / "run" / "stages" / "reply" / "blocks.jsonl"
    while not sidecar.exists() or sidecar.read_bytes().count(b"\n") < 2:
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - started < 2
    assert process.returncode == code
    # unwound from where it stood: the clock got to save, which no hard end would have let it
    state = json.loads((tmp_path / "run" / "stages" / "reply" / "stage.json").read_text())
    assert state["seconds"] > 0
    safe = 3 * sidecar.read_bytes().count(b"\n")
    assert err == (
        f"Stopped. {safe} records are safe in {tmp_path / 'run'}. Go on with: cai go-on\n"
    )


def test_a_signal_stops_a_process_that_does_not_come_back_to_python(
    start: Start, tmp_path: Path
) -> None:
    process = start("stuck", tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - started < 2
    assert process.returncode == 143
    assert err.startswith("Stopped. 0 records are safe in ")


def test_a_second_signal_ends_a_stuck_process_at_once(start: Start, tmp_path: Path) -> None:
    process = start("stuck", tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert time.monotonic() - started < 1
    assert process.returncode == 130

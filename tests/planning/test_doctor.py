"""``cai doctor``: what it says, that it is quick and light, and that no extra goes unexplained."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.planning import machine

Cai = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]


def test_it_says_what_is_here(cai: Cai) -> None:
    code, shown, _ = cai("doctor")
    assert code == 0
    for word in ("Python", "cores", "memory", "free disk", "GPUs", "hub", "extra lora"):
        assert word in shown
    assert str(Path.home()) not in shown


def test_json_holds_numbers(cai: Cai) -> None:
    code, shown, _ = cai("doctor", "--json")
    assert code == 0
    found = json.loads(shown)
    assert found["cores"] >= 1 and found["free_disk"] > 0
    assert found["libraries"]["torch"]
    lora = next(extra for extra in found["extras"] if extra["name"] == "lora")
    assert lora["install"] == "pip install 'constitutional[lora]'"


def test_it_is_quick_and_loads_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["cai", "doctor"]
from constitutional.cli import main
try:
    main()
except SystemExit:
    pass
assert not {"torch", "transformers", "accelerate"} & set(sys.modules)
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # of the processor, so that a busy machine does not fail it; the hub has a second besides
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_every_extra_says_what_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"dev"}
    assert extras - set(machine.ENABLES) == set()


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = machine._extra("lora", ["peft", "no-such-package"])
    assert extra.missing == ("no-such-package",) and "peft" in extra.installed


def test_the_hub_is_not_asked_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert machine.hub() == "switched off by HF_HUB_OFFLINE"


def test_a_hub_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = time.perf_counter()
    assert machine.hub() == "not reachable"
    assert time.perf_counter() - start < 2


def test_gpus_as_the_drivers_tool_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 80GB HBM3, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (gpu,) = machine.found_gpus()
    assert gpu.name == "NVIDIA H100, 80GB HBM3" and gpu.memory == 81559 * 2**20

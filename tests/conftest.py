from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

# No test asks a hub. Set here, before a library reads it: one that does not know would try for
# twenty seconds to reach a hub that a test machine has no way to.
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

# Trainings that a test kills are forked from a process that has imported all of it. There is one
# such process for all test files, which can find installed modules alone.
multiprocessing.get_context("forkserver").set_forkserver_preload(
    [
        "constitutional.preference.harm_model",
        "constitutional.preference.train",
        "constitutional.supervised.finetune",
        "peft",
    ]
)

#: The files that take longest, longest first. Each is one worker's: begun last, it ends alone.
LONGEST = (
    "execution/test_ray.py",
    "test_rl_run.py",
    "jobs/test_equal.py",
    "test_run.py",
    "browser/test_hostile_pages.py",
    "microworld/test_build.py",
    "jobs/test_launch.py",
    "supervised/test_finetune.py",
    "rl/test_dpo.py",
    "rl/test_one_base.py",
    "faults/test_faults.py",
    "test_bad_input.py",
    "supervised/test_finetune_resume.py",
    "preference/test_preference_resume.py",
    "test_families_run.py",
    "test_adapters.py",
    "handover/test_service.py",
    "handover/test_export.py",
    "engines/http/test_transformers_serve.py",
    "engines/http/test_http_client.py",
    "browser/test_run_browser.py",
    "browser/test_arena_browser.py",
    "red_teaming/test_red_team_command.py",
    "runs/test_kills.py",
    "speed/test_peers.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; all others, and the tests of a file, in their order."""
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(LONGEST)}
    if gone := [path for path in place if not path.exists()]:
        raise pytest.UsageError(f"tests/conftest.py, LONGEST: there is no {gone[0]}")
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture
def cai(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process; returns exit code, standard output and error."""
    from constitutional.cli import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["cai", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code: int | str | None = 0
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return int(code or 0), captured.out, captured.err

    return run


@pytest.fixture
def small_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small recipe on the embedded microworld; ``**changes`` replace its keys."""

    def write(**changes: object) -> Path:
        recipe = {
            "name": "small",
            "constitution": "microworld:constitution.yaml",
            "models": {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"},
            "prompts": {
                "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 24},
                "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 12},
            },
            "supervised": {"rounds": 2, "few_shots": 0, "max_new_tokens": 48},
            "finetune": {"learning_rate": 3e-4, "batch_size": 8, "checkpoint_steps": 3},
            "evaluation": {
                "red_team": {"file": "microworld:prompts/evaluation_red_team.jsonl", "limit": 16},
                "helpful": {"file": "microworld:prompts/evaluation_helpful.jsonl", "limit": 16},
                "judge": "microworld",
                "max_new_tokens": 48,
            },
            "block": 8,
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return path

    return write

"""An extra that is missing costs one sentence with the command that installs it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
RED_TEAM = {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 2}
HELPFUL = {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 2}
RL = {
    "comparisons": RED_TEAM,
    "helpfulness": {"prompts": HELPFUL},
    "red_team": RED_TEAM,
    "helpful": HELPFUL,
}


def lora_of(section: str) -> dict[str, Any]:
    if section == "finetune":
        return {"finetune": {"lora": {"rank": 2}}}
    return {"rl": {**RL, section: {"lora": {"rank": 2}}}}


def data_set(file: str) -> dict[str, Any]:
    return {"prompts": {"red_team": {"file": file}, "helpful": HELPFUL}}


def engine(**settings: str) -> dict[str, Any]:
    models = {"pretrained": "microworld:pretrained", "helpful": "other"}
    return {"models": models, "engines": {"other": settings}}


SERVER = engine(engine="openai", model="x", base_url="http://localhost:9/v1")
#: Of each extra: a package of it that is not there, and a recipe or a command that needs it.
CASES: list[tuple[str, str, dict[str, Any] | str]] = [
    ("lora", "peft", lora_of("finetune")),
    ("lora", "peft", lora_of("preference")),
    ("lora", "peft", lora_of("ppo")),
    ("data", "datasets", data_set("somebody/something")),
    ("data", "pyarrow", data_set("prompts.parquet")),
    ("openai", "openai", SERVER),
    ("serve", "fastapi", "serve-pm"),
    ("serve", "uvicorn", "serve-pm"),
    ("web", "fastapi", "serve"),
    ("web", "uvicorn", "serve"),
    ("web", "sqlalchemy", "serve"),
    ("web", "alembic", "serve"),
    ("web", "python_multipart", "serve"),
    ("postgres", "psycopg", "votes-of-postgres"),
    ("trl", "trl", {"rl": {**RL, "algorithm": "rloo"}}),
    ("quant", "bitsandbytes", {"finetune": {"lora": {"rank": 2, "quantize": "4bit"}}}),
    ("vllm", "vllm", engine(engine="vllm", model="microworld:helpful")),
    ("ray", "ray", {"execution": "ray"}),
]
HERE = [case for case in CASES if case[0] in EXTRAS]

WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from constitutional.cli import main
main()
"""


def test_every_extra_has_a_case() -> None:
    # no command needs pandas: tests/reading asks Run for a data frame without it
    assert set(EXTRAS) - {"dev", "notebook"} == {extra for extra, _, _ in HERE}


@pytest.mark.parametrize(
    ("extra", "package", "changes"), HERE, ids=[f"{e}-{p}-{n}" for n, (e, p, _) in enumerate(HERE)]
)
def test_a_missing_extra_costs_a_sentence(
    small_recipe: Callable[..., Path],
    tmp_path: Path,
    extra: str,
    package: str,
    changes: dict[str, Any] | str,
) -> None:
    if changes == "votes-of-postgres":
        command = ["votes", "invite", "Ann", "--votes", "postgresql://localhost/votes"]
    elif isinstance(changes, str):
        command = [changes, str(tmp_path)]
    else:
        (tmp_path / "prompts.parquet").write_bytes(b"PAR1PAR1")
        recipe = yaml.safe_load(small_recipe().read_text())
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps({**recipe, **changes}))
        command = ["run", str(path), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, *command], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("cai: ")]
    assert len(said) == 1 and "Traceback" not in done.stderr
    assert f"needs {package}, which is not installed" in said[0]
    assert said[0].endswith(f"pip install 'constitutional[{extra}]'")
    assert not (tmp_path / "run").exists(), "it is told before a run begins"

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def write_study(tmp_path: Path, small_recipe: Callable[..., Path]) -> Callable[..., Path]:
    """Writes ``own.yaml``, a study with two arms of a tiny run, and its base recipe."""

    def write(**changes: Any) -> Path:
        small_recipe().rename(tmp_path / "base.yaml")
        study = {
            "study": "own",
            "number": 1,
            "title": "Two blocks",
            "question": "Does a larger block do less harm?",
            "claim": "Nobody has said so.",
            "base": "base.yaml",
            "seeds": [1, 2, 3],
            "arms": {"a": {}, "b": {"supervised.critique": False}},
            "measures": {"harm": "policies.sl_cai.held_out.harmful_compliance.value"},
            "rules": [
                {"says": "they are alike", "difference": ["a.harm", "b.harm"], "within": 0.5}
            ],
            "figure": {"measures": ["harm"]},
            **changes,
        }
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    return write

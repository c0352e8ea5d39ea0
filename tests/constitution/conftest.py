from __future__ import annotations

from pathlib import Path

import pytest

OFFICIAL = Path(__file__).resolve().parents[2].parent / "shared/data/official/prompts"


@pytest.fixture
def official() -> Path:
    if not OFFICIAL.is_dir():
        pytest.skip("the official files are not here (shared/data/official beside the checkout)")
    return OFFICIAL

"""Settings that contradict each other are refused, and none is rewritten."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from constitutional.feedback import FeedbackConfig, PairsConfig


def test_defaults_are_the_papers() -> None:
    plain, cot = FeedbackConfig(), FeedbackConfig(cot=True)
    assert (plain.bounds, cot.bounds) == (None, (0.40, 0.60))
    assert (plain.hard, plain.principles_per_pair, plain.cot_samples) == (False, 1, 1)
    assert PairsConfig().temperatures == (1.0,)


@pytest.mark.parametrize("settings", [{}, {"cot": True}, {"cot": True, "clamp": [0.2, 0.8]}])
def test_written_out_settings_are_read_back(settings: dict[str, object]) -> None:
    config = FeedbackConfig.model_validate(settings)
    assert FeedbackConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"clamp": (0.4, 0.6)}, "'cot' is off"),
        ({"cot_samples": 3}, "'cot' is off"),
        ({"hard": True, "cot": True}, "set clamp to null"),
        ({"hard": True, "cot": True, "clamp": (0.2, 0.8)}, "set clamp to null"),
        ({"cot": True, "clamp": (0.3, 0.6)}, "as far above"),
        ({"cot": True, "clamp": (0.6, 0.4)}, "as far above"),
        ({"cot": True, "clamp": (-0.1, 1.1)}, "as far above"),
        ({"votes": 0}, "greater than or equal to 1"),
        ({"order": "both"}, "Extra inputs"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        FeedbackConfig.model_validate(settings)


def test_hard_labels_with_reasoning_need_the_clamp_off() -> None:
    assert FeedbackConfig(cot=True, hard=True, clamp=None).bounds is None


@pytest.mark.parametrize("temperatures", [(), (0.0,), (1.0, 1.0), (float("inf"),)])
def test_temperatures_that_give_no_pairs_are_refused(temperatures: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="temperatures"):
        PairsConfig(temperatures=temperatures)

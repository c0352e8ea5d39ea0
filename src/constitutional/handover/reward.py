"""Rewards from a preference model that is served elsewhere, for verl and for TRL.

This file stands alone: it needs nothing but Python, and ``cai export`` puts a copy of it beside the
training script. Start the service first (``cai serve-pm FOLDER``), and say where it is with the
environment variable ``REWARD_URL``.

``compute_score`` is verl's custom reward function (0.9.1, ``reward.custom_reward_function``): it
is called for each answer, from a thread of a pool (``NaiveRewardManager.run_single``), with the
columns ``data_source``, ``reward_model.ground_truth`` and ``extra_info`` of the prompt's row, of
which the last holds the messages. ``reward`` is TRL's (1.16, ``reward_funcs``): for all answers of
a batch at once, with the columns of the data set as lists.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

URL = os.environ.get("REWARD_URL", "http://127.0.0.1:8010")
TIMEOUT = 180.0
TRIES = 5


def scores(answers: Sequence[dict[str, Any]], url: str = URL) -> list[float]:
    """The rewards of ``answers``, each with ``messages`` and ``response``, from the service.

    Tries again when the service is not there or too busy. Raises RuntimeError with the service's
    sentence: a reward that is missing must stop a training, never count as 0.
    """
    request = urllib.request.Request(
        f"{url.rstrip('/')}/score",
        data=json.dumps({"answers": list(answers)}).encode(),
        headers={"Content-Type": "application/json"},
    )
    for left in range(TRIES - 1, -1, -1):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                rewards: list[float] = json.load(response)["rewards"]
                return rewards
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            if error.code != 503 or not left:
                raise RuntimeError(f"{url} refused to score: {told}") from None
        except OSError as error:
            if not left:
                raise RuntimeError(f"no reward service answers at {url}: {error}") from None
        time.sleep(2.0 ** (TRIES - left))
    raise AssertionError


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: dict[str, Any] | None = None,
    url: str = URL,
    **_: Any,
) -> float:
    """The reward of one answer, as verl asks for it."""
    messages = json.loads((extra_info or {})["messages"])
    return scores([{"messages": messages, "response": solution_str}], url)[0]


def reward(
    completions: Sequence[Any], messages: Sequence[str], url: str = URL, **_: Any
) -> list[float]:
    """The rewards of a batch of answers, as TRL asks for them. ``messages`` is our column."""
    asked = [
        {"messages": json.loads(before), "response": _text(completion)}
        for before, completion in zip(messages, completions, strict=True)
    ]
    return scores(asked, url)


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])

"""Runs to look at, and ``cai serve`` as a process of its own that shows them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.web_runs import (
    HELP,
    REFUSAL,
    answer,
    chain,
    comparison,
    readings,
    sample,
    write_history,
    write_run,
)

from constitutional.runs.records import Reading

SHARE = {"value": 0.125, "low": 0.05, "high": 0.25, "n": 40}
ALL = {"value": 0.965, "low": 0.93, "high": 0.99, "n": 40}
METRICS = {
    "policies": {
        "helpful": {"held_out": {"harmful_compliance": ALL, "reasoned_refusal": SHARE}},
        "sl_cai": {"held_out": {"harmful_compliance": SHARE, "reasoned_refusal": ALL}},
        "rl_cai@4": {"held_out": {"harmful_compliance": SHARE}},
    },
    "elo": {
        goal: {
            "sl_cai": {"value": 0.0, "low": 0.0, "high": 0.0, "n": 40},
            "helpful": {"value": -320.0, "low": -380.0, "high": -260.0, "n": 40},
            "rl_cai": {"value": 38.2, "low": 22.0, "high": 54.0, "n": 40},
        }
        for goal in ("harmlessness", "helpfulness")
    },
    "revision_rounds": [{"harmful_compliance": share} for share in (ALL, SHARE, SHARE)],
    "arms": {"rl_cai": {"labels": {"contrast": {"warning": "few pairs tell answers apart"}}}},
}


def finished(folder: Path) -> Path:
    """A finished run with 60 chains and 40 comparisons, some with chains of thought."""
    thought = sample("Let's think step by step: the letter belongs to the mayor.")
    cot = tuple(
        Reading(principle="no-harm", order=order, prob_a=prob, reasoning=thought)
        for order, prob in (("ab", 0.2), ("ba", 0.4))
    )
    pairs = [
        comparison(number, cot if number % 4 == 3 else readings((0.1, number / 40), (0.3, 0.4)))
        for number in range(40)
    ]
    answers = {
        "sl_cai": [answer("sl_cai", number, HELP) for number in range(9)],
        "rl_cai-step-4": [answer("rl_cai@4", number) for number in range(9)],
        "rl_cai": [answer("rl_cai", number, REFUSAL) for number in range(9)],
    }
    run = write_run(
        folder,
        name="demo",
        chains=[chain(number) for number in range(60)],
        comparisons={"comparisons_ai": pairs},
        answers=answers,
        metrics=METRICS,
    )
    write_history(run, 8)
    return run


def live(folder: Path) -> Path:
    """A run whose PPO is at step 4."""
    run = write_run(folder, name="live", chains=[chain(number) for number in range(8)])
    write_history(run, 4)
    return run


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """``cai serve`` with these arguments, on a free port; gives the address that it prints."""
    words = [sys.executable, "-c", "from constitutional.cli import main; main()", "serve"]
    process = subprocess.Popen(
        [*words, *map(str, arguments), "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()

"""Run folders to report on: real journals, and metrics that were computed from their records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.report.small_run import STEPS, answers, comparisons, history, small_metrics
from tests.web_runs import chain, write_run

from constitutional.runs.records import Answer, Chain
from constitutional.runs.stage import Stage

CHAINS = 30


def small_answers(**changes: Sequence[Answer]) -> dict[str, Sequence[Answer]]:
    """By stage, those that ``small_metrics("rl_cai")`` was computed from."""
    refusing = {"pretrained": 0.3, "helpful": 0.05, "sl_cai": 0.6, "rl_cai": 0.8}
    made = {policy: answers(policy, refuses) for policy, refuses in refusing.items()}
    snapshots = {f"rl_cai-step-{s}": answers(f"rl_cai@{s}", 0.7) for s in STEPS[1:]}
    return {**made, **snapshots, **changes}


def small_folder(
    folder: Path,
    *,
    chains: Sequence[Chain] | None = None,
    metrics: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A finished run with one arm."""
    run = write_run(
        folder,
        chains=[chain(number) for number in range(CHAINS)] if chains is None else chains,
        comparisons={"comparisons_ai": comparisons()},
        metrics=small_metrics("rl_cai") if metrics is None else metrics,
        **{"answers": small_answers(), **changes},
    )
    write_result(run, "rl_cai", "training.json", history=[history(step) for step in range(1, 5)])
    write_result(run, "sl_cai", "finetune.json", losses=[[10, 0.5], [20, 0.25]], too_long=3)
    return run


def write_result(run: Path, stage: str, name: str, **report: Any) -> None:
    """What the training of a stage leaves beside its model."""
    folder = run / "stages" / stage
    Stage(folder, "artifact").begin({"made": "by hand"})
    (folder / "result").mkdir()
    (folder / "result" / name).write_text(json.dumps(report))
